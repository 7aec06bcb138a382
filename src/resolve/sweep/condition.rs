//! Conditions of a sweep, such as `batch_size * learning_rate < 0.1`: a small grammar, read once and asked of each
//! trial. Unaware of sweeps.

use std::ops::Range;

/// How deep a condition may nest.
const DEPTH_LIMIT: usize = 64;

/// What is wrong with a condition, and where in its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misread {
    /// Bytes of the text.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
}

/// A value that a condition computes with.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// True or false.
    Truth(bool),
}

/// A condition that was read.
#[derive(Clone, Debug)]
pub struct Condition {
    root: Expression,
}

#[derive(Clone, Debug)]
struct Expression {
    span: Range<usize>,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Known(Value),
    Name(String),
    Negative(Box<Expression>),
    Not(Box<Expression>),
    Two(Operator, Box<Expression>, Box<Expression>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
    Plus,
    Minus,
    Times,
    Over,
}

/// Operators by rank, the loosest first; words stand for themselves.
const RANKS: [&[(&str, Operator)]; 5] = [
    &[("or", Operator::Or)],
    &[("and", Operator::And)],
    &[
        ("==", Operator::Equal),
        ("!=", Operator::Unequal),
        ("<=", Operator::AtMost),
        (">=", Operator::AtLeast),
        ("<", Operator::Less),
        (">", Operator::More),
    ],
    &[("+", Operator::Plus), ("-", Operator::Minus)],
    &[("*", Operator::Times), ("/", Operator::Over)],
];

/// The rank of comparisons, which do not chain.
const COMPARISON: usize = 2;

impl Value {
    const fn sort(&self) -> &'static str {
        match self {
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::Truth(_) => "true or false",
        }
    }
}

impl Condition {
    /// Reads a condition.
    pub fn read(text: &str) -> Result<Self, Misread> {
        let mut reader = Reader { text, at: 0, depth: 0 };
        let root = reader.ranked(0)?;
        reader.skip_space();
        if reader.at < text.len() {
            return Err(reader.misread("this does not go on from what stands before it"));
        }
        Ok(Self { root })
    }

    /// The names that it uses, each with its place.
    pub fn names(&self) -> Vec<(&str, Range<usize>)> {
        let mut names = Vec::new();
        let mut queue = vec![&self.root];
        while let Some(expression) = queue.pop() {
            match &expression.what {
                What::Known(_) => {}
                What::Name(name) => names.push((name.as_str(), expression.span.clone())),
                What::Negative(inner) | What::Not(inner) => queue.push(inner),
                What::Two(_, left, right) => queue.extend([left.as_ref(), right.as_ref()]),
            }
        }
        names
    }

    /// Whether it holds, with the values of its names.
    pub fn holds(&self, value: &dyn Fn(&str) -> Option<Value>) -> Result<bool, Misread> {
        truth(&self.root, self.root.evaluate(value)?)
    }
}

fn truth(of: &Expression, value: Value) -> Result<bool, Misread> {
    match value {
        Value::Truth(truth) => Ok(truth),
        other => {
            Err(Misread { span: of.span.clone(), message: format!("this is {}, not true or false", other.sort()) })
        }
    }
}

fn number(of: &Expression, value: Value) -> Result<f64, Misread> {
    match value {
        Value::Number(number) => Ok(number),
        other => Err(Misread { span: of.span.clone(), message: format!("this is {}, not a number", other.sort()) }),
    }
}

impl Expression {
    fn evaluate(&self, value: &dyn Fn(&str) -> Option<Value>) -> Result<Value, Misread> {
        match &self.what {
            What::Known(known) => Ok(known.clone()),
            What::Name(name) => value(name).ok_or_else(|| Misread {
                span: self.span.clone(),
                message: format!("`{name}` is neither a number nor a text nor true or false"),
            }),
            What::Negative(inner) => Ok(Value::Number(-number(inner, inner.evaluate(value)?)?)),
            What::Not(inner) => Ok(Value::Truth(!truth(inner, inner.evaluate(value)?)?)),
            What::Two(operator, left, right) => self.two(*operator, left, right, value),
        }
    }

    fn two(
        &self,
        operator: Operator,
        left: &Self,
        right: &Self,
        value: &dyn Fn(&str) -> Option<Value>,
    ) -> Result<Value, Misread> {
        let (a, b) = (left.evaluate(value)?, right.evaluate(value)?);
        let numbers = |a: Value, b: Value| Ok::<_, Misread>((number(left, a)?, number(right, b)?));
        Ok(match operator {
            Operator::Or => Value::Truth(truth(left, a)? | truth(right, b)?),
            Operator::And => Value::Truth(truth(left, a)? & truth(right, b)?),
            Operator::Equal | Operator::Unequal if a.sort() != b.sort() => {
                let message = format!("{} and {} cannot be compared", a.sort(), b.sort());
                return Err(Misread { span: self.span.clone(), message });
            }
            Operator::Equal => Value::Truth(a == b),
            Operator::Unequal => Value::Truth(a != b),
            _ => {
                let (a, b) = numbers(a, b)?;
                match operator {
                    Operator::Less => Value::Truth(a < b),
                    Operator::AtMost => Value::Truth(a <= b),
                    Operator::More => Value::Truth(a > b),
                    Operator::AtLeast => Value::Truth(a >= b),
                    Operator::Plus => Value::Number(a + b),
                    Operator::Minus => Value::Number(a - b),
                    Operator::Times => Value::Number(a * b),
                    _ => Value::Number(a / b),
                }
            }
        })
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn misread(&self, message: &str) -> Misread {
        let width = self.rest().chars().next().map_or(0, char::len_utf8);
        Misread { span: self.at..self.at + width, message: message.to_owned() }
    }

    /// Takes a sign or a word, which must not go on as a longer one.
    fn take(&mut self, sign: &str) -> bool {
        self.skip_space();
        let is_word = sign.starts_with(|c: char| c.is_ascii_alphabetic());
        let goes_on = |rest: &str| is_word && rest.starts_with(is_name_part);
        let taken = self.rest().strip_prefix(sign).is_some_and(|rest| !goes_on(rest));
        self.at += if taken { sign.len() } else { 0 };
        taken
    }

    fn ranked(&mut self, rank: usize) -> Result<Expression, Misread> {
        let Some(operators) = RANKS.get(rank) else { return self.unary() };
        if rank == COMPARISON && self.take("not") {
            let start = self.at - 3;
            let inner = self.deeper(|reader| reader.ranked(COMPARISON))?;
            return Ok(Expression { span: start..self.at, what: What::Not(Box::new(inner)) });
        }
        let mut left = self.ranked(rank + 1)?;
        while let Some((_, operator)) = operators.iter().find(|(sign, _)| self.take(sign)) {
            let right = self.ranked(rank + 1)?;
            let span = left.span.start..right.span.end;
            left = Expression { span, what: What::Two(*operator, Box::new(left), Box::new(right)) };
            if rank == COMPARISON {
                break;
            }
        }
        Ok(left)
    }

    fn deeper(&mut self, read: impl FnOnce(&mut Self) -> Result<Expression, Misread>) -> Result<Expression, Misread> {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return Err(self.misread("the condition nests too deeply"));
        }
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn unary(&mut self) -> Result<Expression, Misread> {
        self.skip_space();
        let start = self.at;
        if self.take("-") {
            let inner = self.deeper(Self::unary)?;
            return Ok(Expression { span: start..self.at, what: What::Negative(Box::new(inner)) });
        }
        if self.take("(") {
            let inner = self.deeper(|reader| reader.ranked(0))?;
            return match self.take(")") {
                true => Ok(Expression { span: start..self.at, what: inner.what }),
                false => Err(self.misread("a `)` is missing here")),
            };
        }
        self.atom(start)
    }

    fn atom(&mut self, start: usize) -> Result<Expression, Misread> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Err(self.misread("the condition ends where a value should stand"));
        };
        let (length, what) = if first == '\'' || first == '"' {
            let Some(end) = rest[1..].find(first) else { return Err(self.misread("this text has no end")) };
            (end + 2, What::Known(Value::Text(rest[1..=end].to_owned())))
        } else if first.is_ascii_digit() {
            let length = number_length(rest);
            let number = rest[..length].parse();
            (length, What::Known(Value::Number(number.map_err(|_| self.misread("this is no number"))?)))
        } else if is_name_part(first) {
            let length = rest.find(|c| !is_name_part(c) && c != '.').unwrap_or(rest.len());
            let name = &rest[..length];
            let known = ["true", "false"].contains(&name).then(|| What::Known(Value::Truth(name == "true")));
            (length, known.unwrap_or_else(|| What::Name(name.to_owned())))
        } else {
            return Err(self.misread("a number, a 'text', a name or `(` should stand here"));
        };
        self.at += length;
        Ok(Expression { span: start..self.at, what })
    }
}

const fn is_name_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The bytes of a number such as `10`, `0.5` or `1e-4`.
fn number_length(text: &str) -> usize {
    let mut before = ' ';
    let goes_on = |c: char| {
        let is_sign = (c == '-' || c == '+') && matches!(before, 'e' | 'E');
        before = c;
        c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E') || is_sign
    };
    text.find({
        let mut goes_on = goes_on;
        move |c| !goes_on(c)
    })
    .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str) -> Result<bool, Misread> {
        let value = |name: &str| match name {
            "batch_size" => Some(Value::Number(16.0)),
            "schedule.warmup" => Some(Value::Number(0.5)),
            "cell" => Some(Value::Text("gru".into())),
            _ => None,
        };
        Condition::read(text)?.holds(&value)
    }

    #[test]
    fn arithmetic_comparisons_and_words_bind_as_usual() {
        for (text, expected) in [
            ("batch_size * 2 + 1 == 33", true),
            ("1 + 2 * 3 == 7 and not cell == 'lstm'", true),
            ("batch_size < 8 or cell == \"gru\" and schedule.warmup >= 0.5", true),
            ("not (batch_size > 8)", false),
            ("-batch_size / 4 <= -4", true),
            ("batch_size - 4 - 4 == 8", true),
            ("1e-4 < 0.001", true),
            ("true != false", true),
        ] {
            assert_eq!(holds(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        let told = |text: &str| holds(text).map_err(|misread| (misread.span, misread.message)).unwrap_err();
        assert_eq!(told("batch_size <"), (12..12, "the condition ends where a value should stand".into()));
        assert_eq!(told("(1 < 2"), (6..6, "a `)` is missing here".into()));
        assert_eq!(told("1 < 2 < 3").1, "this does not go on from what stands before it");
        assert_eq!(told("batch_size"), (0..10, "this is a number, not true or false".into()));
        assert_eq!(told("1 < cell"), (4..8, "this is a text, not a number".into()));
        assert_eq!(told("cell == 1").1, "a text and a number cannot be compared");
        assert_eq!(told("& 1").0, 0..1);
        assert_eq!(told("'a").1, "this text has no end");
        assert_eq!(told(&"(".repeat(1000)).1, "the condition nests too deeply");
    }
}
