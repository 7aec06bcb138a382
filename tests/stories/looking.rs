//! The page of a report as a browser shows it, with its network off: three widths, both schemes, paper. Where no browser
//! is found these stories say so and pass. Unaware of what reports hold.

use std::io::Read as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::browser::{Browser, Clip};
use crate::reporting::experiment;

/// What is looked at, as one expression: each figure with its place, and what goes wrong.
const LOOK: &str = r#"(() => {
  const shown = [...document.querySelectorAll("figure")].map(figure => {
    const svg = figure.querySelector("svg"), box = svg.getBoundingClientRect();
    const cut = [...svg.querySelectorAll("text")].filter(text => {
      const own = text.getBoundingClientRect();
      return own.left < box.left - 1.5 || own.right > box.right + 1.5 || own.top < box.top - 1.5 || own.bottom > box.bottom + 1.5;
    }).map(text => text.textContent);
    const letters = Math.min(...[...svg.querySelectorAll("text")].map(text => text.getBoundingClientRect().height));
    const shapes = svg.querySelectorAll("path,rect,circle").length;
    return { title: figure.querySelector("figcaption strong").textContent, x: box.left + scrollX, y: box.top + scrollY,
      width: box.width, height: box.height, cut, letters, shapes, rows: figure.querySelectorAll("tbody tr").length };
  });
  const wide = [...document.querySelectorAll("body *")].filter(element => {
    if (element.closest(".scroll") || element.closest("pre") || element.closest("svg")) return false;
    return element.getBoundingClientRect().right > innerWidth + 1;
  }).map(element => element.tagName + " " + element.textContent.slice(0, 60));
  return { shown, wide, overflow: document.documentElement.scrollWidth - innerWidth };
})()"#;

fn page() -> PathBuf {
    let project = experiment();
    let path = project.path("looked_at.html");
    let said = project.pacer(&["report", "--out", &path.display().to_string()]);
    assert_eq!(said.code, 0, "{}", said.err);
    path
}

/// The colours of a PNG with 8 bits a channel, as the browser writes them.
fn colours(png: &[u8]) -> std::collections::BTreeSet<[u8; 3]> {
    let (mut at, mut packed, mut head) = (8, Vec::new(), Vec::new());
    while at + 8 <= png.len() {
        let length = u32::from_be_bytes(png[at..at + 4].try_into().unwrap()) as usize;
        let data = &png[at + 8..at + 8 + length];
        match &png[at + 4..at + 8] {
            b"IHDR" => head = data.to_vec(),
            b"IDAT" => packed.extend_from_slice(data),
            _ => {}
        }
        at += length + 12;
    }
    let width = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
    let channels = if head[9] == 6 { 4 } else { 3 };
    let mut raw = Vec::new();
    flate2::read::ZlibDecoder::new(&packed[..]).read_to_end(&mut raw).unwrap();
    let mut above = vec![0_u8; width * channels];
    let mut found = std::collections::BTreeSet::new();
    for row in raw.chunks_exact(width * channels + 1) {
        let mut line = row[1..].to_vec();
        for i in 0..line.len() {
            let (left, corner) = if i < channels { (0, 0) } else { (line[i - channels], above[i - channels]) };
            let (a, b, c) = (i16::from(left), i16::from(above[i]), i16::from(corner));
            let nearest = [a, b, c].into_iter().min_by_key(|value| (a + b - c - value).abs()).unwrap();
            let added = [0, a, b, (a + b) / 2, nearest][usize::from(row[0])];
            line[i] = line[i].wrapping_add(added as u8);
        }
        found.extend(line.chunks_exact(channels).map(|pixel| [pixel[0], pixel[1], pixel[2]]));
        above = line;
    }
    found
}

#[test]
fn every_figure_is_drawn_at_every_width_in_either_scheme_with_the_network_off() {
    let Some(mut browser) = Browser::start() else { return };
    let page = page();
    for scheme in ["light", "dark"] {
        for width in [1200, 800, 390] {
            let what = format!("{width} {scheme}");
            browser.look(width, scheme, "screen");
            browser.open(&page);
            let seen = browser.evaluate(LOOK);
            assert_eq!(
                (&seen["overflow"], &seen["wide"]),
                (&json!(0), &json!([])),
                "{what}: nothing is wider than the window"
            );
            let shown = seen["shown"].as_array().unwrap();
            assert!(shown.len() >= 20, "{what}: {} figures", shown.len());
            for figure in shown {
                let number = |name: &str| figure[name].as_f64().unwrap();
                assert!(number("width") > 300.0 && number("height") > 25.0, "{what}: {figure}");
                assert!(
                    number("shapes") >= 2.0 && number("rows") >= 1.0 && number("letters") > 9.0,
                    "{what}: {figure}"
                );
                assert_eq!(figure["cut"], json!([]), "{what}: words that are cut off in {}", figure["title"]);
            }
            assert_has_colours(&mut browser, shown, &what);
            assert_eq!(browser.complaints(), Vec::<String>::new(), "{what}: what the console was told");
            assert_eq!(browser.requests(), [format!("file://{}", page.display())], "{what}: nothing else is asked for");
        }
    }
}

/// Ink on ground and at least one colour of a series, in each figure.
fn assert_has_colours(browser: &mut Browser, shown: &[Value], what: &str) {
    for figure in shown {
        let number = |name: &str| figure[name].as_f64().unwrap();
        let (width, height) = (number("width"), number("height"));
        let seen = colours(&browser.picture(Clip { x: number("x"), y: number("y"), width, height }));
        let is_coloured = |pixel: &&[u8; 3]| pixel.iter().max().unwrap() - pixel.iter().min().unwrap() > 60;
        let coloured = seen.iter().filter(is_coloured).count();
        assert!(seen.len() > 8 && coloured > 0, "{what}: {} has {} colours", figure["title"], seen.len());
    }
}

#[test]
fn a_report_needs_no_script_for_its_tables_and_figures() {
    let Some(mut browser) = Browser::start() else { return };
    browser.call("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    browser.open(&page());
    let document = browser.call("DOM.getDocument", json!({ "depth": 1 }))["root"]["nodeId"].clone();
    let mut count = |selector: &str| {
        let found = browser.call("DOM.querySelectorAll", json!({ "nodeId": document, "selector": selector }));
        found["nodeIds"].as_array().unwrap().len()
    };
    let figures = count("figure svg");
    assert!(figures >= 20 && count("figure table") == figures && count("table") > figures, "{figures}");
    assert_eq!(count("script") + count("[onclick]") + count("link") + count("img") + count("iframe"), 0);
}

#[test]
fn paper_shows_what_the_screen_folds_in_the_colours_of_day() {
    let Some(mut browser) = Browser::start() else { return };
    browser.look(700, "dark", "screen");
    browser.open(&page());
    let tables = r#"[...document.querySelectorAll("details table, details pre")].map(table => table.checkVisibility({
        contentVisibilityAuto: true }) && table.getBoundingClientRect().height > 10).reduce((n, shown) => n + shown, 0)"#;
    let ground = "getComputedStyle(document.body).backgroundColor";
    assert_eq!((browser.evaluate(tables), browser.evaluate(ground)), (json!(0), json!("rgb(20, 24, 29)")));
    browser.look(700, "dark", "print");
    // What was folded is laid out with the next frame.
    let frames = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 0))))";
    browser.evaluate(frames);
    let all = browser.evaluate(r#"document.querySelectorAll("details table, details pre").length"#);
    assert_eq!((browser.evaluate(tables), browser.evaluate(ground)), (all, json!("rgb(255, 255, 255)")));
    let cut = r#"[...document.querySelectorAll("svg, table, pre")].filter(it => it.getBoundingClientRect().right > innerWidth + 1)
        .map(it => it.textContent.slice(0, 80))"#;
    assert_eq!(browser.evaluate(cut), json!([]), "nothing is cut off at the edge of the paper");
    let whole =
        r#"[...document.querySelectorAll("figure")].filter(it => getComputedStyle(it).breakInside != "avoid").length"#;
    assert_eq!(browser.evaluate(whole), json!(0));
    let pdf = browser.call("Page.printToPDF", json!({ "printBackground": true }))["data"].as_str().unwrap().len();
    assert!(pdf > 100_000, "{pdf}");
}
