//! The page as HTML and the picture as SVG. Self-contained: no script, nothing fetched. Unaware of workouts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::escape::escape;
use crate::kinds::inspect::chart;
use crate::kinds::inspect::panel::{Layout, Panel};
use crate::kinds::inspect::panels::{self, Chart, Remark};
use crate::kinds::inspect::sheet::Sheet;
use crate::kinds::inspect::style;
use crate::kinds::inspect::words::{capital, clock, count, decimal, plural};

/// What a page may do: show itself.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// How what is shown comes about.
const METHODS: &str = "\
<footer>\n<h2>How to read this page</h2>\n<ul>\n\
<li>Series are drawn as recorded: nothing is repaired, smoothed or filled in. A heart rate that the source gives as an \
average over a time is a stroke over that time, any other a dot; lines between them only guide the eye, and break \
where samples are missing for over 30 s and five usual steps, and at pauses.</li>\n\
<li>Speed from positions is the way along great circles within 15 s around each point over the time it took. r is \
Pearson’s, over points at which both speeds are known; the difference is the device’s less that from positions.</li>\n\
<li>Grade is the slope of the least-squares line of altitude over distance within 30 s, limited to ±30 %, and 0 below \
0.5 m/s. Distance is speed over time without gaps and pauses.</li>\n\
<li>Mean and highest heart rate leave out samples below 30 and above 230 BPM. An axis shows the bulk of the values; \
triangles at its edge stand for values beyond.</li>\n\
<li>The quality score orders recordings for a look and measures nothing: it multiplies what is left after each sort \
of fault, sparse samples, gaps and missing speed among them.</li>\n</ul>\n</footer>\n";

/// The page of these workouts, out of `total` that were looked at.
pub fn html(sheets: &[Sheet], total: usize, left_out: usize) -> String {
    let mut body = header(sheets, total, left_out);
    body.push_str(&index(sheets));
    body.push_str("<main>\n");
    for (place, sheet) in sheets.iter().enumerate() {
        body.push_str(&section(sheet, place + 1));
    }
    body.push_str("</main>\n");
    body.push_str(METHODS);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Inspection of {title}</title>\n\
         <style>\n{style}</style>\n</head>\n<body>\n<div class=\"page\" id=\"top\">\n{body}</div>\n</body>\n</html>\n",
        title = plural(sheets.len(), "workout", "workouts"),
        style = style::page(),
    )
}

fn badge(synthetic: bool) -> &'static str {
    match synthetic {
        true => "<span class=\"badge synthetic\">SYNTHETIC</span>",
        false => "<span class=\"badge\">recorded</span>",
    }
}

fn header(sheets: &[Sheet], total: usize, left_out: usize) -> String {
    let synthetic = sheets.iter().filter(|sheet| sheet.synthetic).count();
    let source = match (synthetic, sheets.len() - synthetic) {
        (0, _) => format!("{} by people’s devices", badge(false)),
        (_, 0) => format!("{} made by a simulator, no person ran", badge(true)),
        (made, ran) => {
            format!("{} {made} made by a simulator, {} {ran} by people’s devices", badge(true), badge(false))
        }
    };
    let chosen = plural(sheets.len(), "workout", "workouts");
    let mut reasons: BTreeMap<_, usize> = BTreeMap::new();
    sheets.iter().for_each(|sheet| *reasons.entry(sheet.why).or_default() += 1);
    let reasons: Vec<String> = reasons.iter().map(|(why, n)| format!("{} {}", count(*n), why.words())).collect();
    let rest = match left_out {
        0 => String::new(),
        n => format!(" {} more were asked for; <code>most</code> says how many are shown.", count(n)),
    };
    format!(
        "<header>\n<h1>Inspection of {chosen}</h1>\n<p>Data: {source}</p>\n<p class=\"muted\">{chosen} of {total}: \
         {reasons}.{rest} Times run from each workout’s first sample. The quality score runs from 0, useless, to \
         1.</p>\n</header>\n",
        total = count(total),
        reasons = reasons.join(", "),
    )
}

fn index(sheets: &[Sheet]) -> String {
    let mut rows = String::new();
    for (place, sheet) in sheets.iter().enumerate() {
        writeln!(
            rows,
            "<tr><td class=\"number\"><a href=\"#w{}\">{}</a></td><td>{}</td><td>{}</td><td class=\"number\">{}</td>\
             <td>{}</td><td class=\"findings\">{}</td></tr>",
            place + 1,
            sheet.id,
            escape(&sheet.when),
            escape(&sheet.sport),
            sheet.quality.duration_s.map_or_else(|| "–".to_owned(), clock),
            score(sheet.score),
            escape(&sheet.findings()),
        )
        .expect("a string takes it");
    }
    format!(
        "<nav aria-label=\"Workouts on this page\" class=\"scroll\">\n<table class=\"index\">\n<thead><tr>\
         <th class=\"number\">Workout</th><th>Start</th><th>Sport</th><th class=\"number\">Duration</th><th>Quality</th>\
         <th>Findings</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n</nav>\n"
    )
}

/// The score with a bar; the number says the same.
fn score(score: f64) -> String {
    let share = decimal(100.0 * score.clamp(0.0, 1.0), 0);
    format!("<span class=\"meter\" aria-hidden=\"true\"><i style=\"width:{share}%\"></i></span>{}", decimal(score, 2))
}

fn section(sheet: &Sheet, place: usize) -> String {
    let facts: String = sheet
        .facts
        .iter()
        .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{}</dd></div>\n", escape(value)))
        .collect();
    let mut charts = String::new();
    for (n, (name, chart)) in sheet.charts.iter().enumerate() {
        charts.push_str(&figure(name, chart, sheet.end, &format!("w{place}c{}", n + 1)));
    }
    if sheet.charts.is_empty() {
        charts.push_str("<p class=\"missing\">No sample has a time, so there is nothing to draw.</p>\n");
    }
    format!(
        "<section class=\"workout\" id=\"w{place}\" aria-labelledby=\"w{place}h\">\n<h2 id=\"w{place}h\">{sport} of \
         {when} <span class=\"muted\">№ {id}</span> {badge}</h2>\n<dl>\n<div><dt>Quality score</dt><dd>{score}</dd>\
         </div>\n{facts}</dl>\n{charts}<h3>Findings</h3>\n{findings}<p class=\"back\"><a href=\"#top\">Back to the list\
         </a></p>\n</section>\n",
        sport = escape(&capital(&sheet.sport)),
        when = escape(&sheet.when),
        id = sheet.id,
        badge = badge(sheet.synthetic),
        score = score(sheet.score),
        findings = findings(&sheet.remarks),
    )
}

fn figure(name: &str, chart: &Chart, end: f64, id: &str) -> String {
    match chart {
        Chart::Missing(why) => {
            format!("<p class=\"missing\"><strong>{}</strong>: {}</p>\n", escape(name), escape(why))
        }
        Chart::Drawn(panels) => {
            let wide = chart::svg(panels, end, Layout::Wide, id);
            let narrow = chart::svg(panels, end, Layout::Narrow, &format!("{id}n"));
            format!("<figure>\n{wide}{narrow}</figure>\n")
        }
    }
}

fn findings(remarks: &[Remark]) -> String {
    if remarks.is_empty() {
        return "<p>Nothing was found.</p>\n".to_owned();
    }
    let item = |remark: &Remark| {
        let time = format!("<span class=\"time\">{}</span> ", panels::span(remark.minutes));
        format!("<li>{time}<strong>{}</strong>: {}</li>\n", escape(&remark.name), escape(&remark.detail))
    };
    format!("<ol>\n{}</ol>\n", remarks.iter().map(item).collect::<String>())
}

/// The charts of one workout one below the other, as a file of its own.
pub fn picture(sheet: &Sheet) -> String {
    let panels: Vec<Panel> = sheet.charts.iter().flat_map(|(_, chart)| drawn(chart)).cloned().collect();
    let missing = sheet.charts.iter().filter_map(|(_, chart)| match chart {
        Chart::Missing(why) => Some(why.as_str()),
        Chart::Drawn(_) => None,
    });
    let data = if sheet.synthetic { "SYNTHETIC" } else { "recorded" };
    let mut lines = vec![format!(
        "Workout {}, {}, {}; data: {data}; quality {}",
        sheet.id,
        sheet.sport,
        sheet.when,
        decimal(sheet.score, 2)
    )];
    lines.extend(missing.map(str::to_owned));
    chart::alone(&panels, sheet.end, &lines, &style::picture())
}

fn drawn(chart: &Chart) -> &[Panel] {
    match chart {
        Chart::Drawn(panels) => panels,
        Chart::Missing(_) => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::inspect::chosen::Why;
    use crate::workouts::Workout;

    fn run(id: i64) -> Workout {
        Workout {
            id,
            sport: "run".into(),
            source: "fit".into(),
            device: Some("<script src=\"https://example.org/x.js\">Watch & Co</script>".into()),
            time: Some((0..2000).map(|i| 1.6e9 + f64::from(i)).collect()),
            heart_rate: Some((0..2000).map(|i| 120.0 + (i % 60) as f32).collect()),
            speed: Some((0..2000).map(|i| if i == 700 { 64.0 } else { 3.0 + (i % 7) as f32 / 10.0 }).collect()),
            altitude: Some((0..2000).map(|i| 100.0 + i as f32 / 50.0).collect()),
            ..Workout::default()
        }
    }

    fn sheets() -> Vec<Sheet> {
        let bare = Workout { id: 2, synthetic: true, heart_rate: None, speed: None, altitude: None, ..run(2) };
        let timeless = Workout { id: 3, sport: "walk".into(), ..Workout::default() };
        let whys = [(Why::Number, run(1)), (Why::Worst, bare), (Why::Worst, timeless)];
        whys.iter().map(|(why, workout)| Sheet::of(*why, workout)).collect()
    }

    #[test]
    fn a_page_loads_nothing_runs_nothing_and_shows_text_as_text() {
        let page = html(&sheets(), 9, 0);
        assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\""));
        let device = "&lt;script src=&quot;https://example.org/x.js&quot;&gt;Watch &amp; Co&lt;/script&gt;";
        assert!(page.contains(device));
        let shown = page.replace(device, "");
        for load in ["http:", "https:", "<script", "<link", "<iframe", "<img", "url(", "@import", " src=", "onload"] {
            assert!(!shown.contains(load), "{load}");
        }
        assert_eq!(page, html(&sheets(), 9, 0));
    }

    #[test]
    fn every_chart_is_told_to_those_who_cannot_see_it_under_ids_of_its_own() {
        let page = html(&sheets(), 9, 0);
        let (charts, titles, descriptions) =
            (page.matches("<svg ").count(), page.matches("<title id=").count(), page.matches("<desc id=").count());
        assert_eq!((charts, titles, descriptions), (6, 6, 6), "three charts, wide and narrow");
        let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let different: std::collections::BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(ids.len(), different.len(), "{ids:?}");
        for id in page.split("aria-labelledby=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(id.split(' ').all(|id| different.contains(id)), "{id}");
        }
    }

    #[test]
    fn what_is_missing_and_what_is_synthetic_is_said() {
        let page = html(&sheets(), 9, 4);
        let sections: Vec<&str> = page.split("<section").skip(1).collect();
        assert_eq!(sections.len(), 3);
        assert!(sections[0].contains(">recorded<") && !sections[0].contains("SYNTHETIC"));
        assert!(sections[1].contains("SYNTHETIC") && sections[1].matches("class=\"missing\"").count() == 3);
        assert!(sections[2].contains("No sample has a time"));
        assert!(page.contains("1 made by a simulator") && page.contains("4 more were asked for"));
    }

    #[test]
    fn the_picture_is_one_well_formed_drawing_that_hides_no_spike() {
        let picture = picture(&sheets()[0]);
        assert!(picture.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"") && picture.ends_with("</svg>\n"));
        let mut reader = quick_xml::Reader::from_str(&picture);
        while reader.read_event().unwrap() != quick_xml::events::Event::Eof {}
        for part in ["Heart rate", "Speed", "Altitude", "Grade", "data: recorded", "1 off the scale, up to 64"] {
            assert!(picture.contains(part), "{part}");
        }
    }
}
