//! The style sheet of pages and pictures, light and dark. Unaware of what is shown.
//!
//! Series have colours of Okabe and Ito (2008), which people with any common colour vision tell apart, and differ in
//! line as well. Charts use plain classes with literal colours, as programs that edit SVG know no CSS variables.

/// Colours of charts.
struct Palette {
    ground: &'static str,
    ink: &'static str,
    muted: &'static str,
    grid: &'static str,
    heart: &'static str,
    positions: &'static str,
    device: &'static str,
    altitude: &'static str,
    grade: &'static str,
    finding: &'static str,
    rest: &'static str,
}

const LIGHT: Palette = Palette {
    ground: "#ffffff",
    ink: "#1b1f24",
    muted: "#57606a",
    grid: "#e4e7eb",
    heart: "#d55e00",
    positions: "#0072b2",
    device: "#b8548f",
    altitude: "#009e73",
    grade: "#5b5fc7",
    finding: "#e69f00",
    rest: "#8b949e",
};

const DARK: Palette = Palette {
    ground: "#14181d",
    ink: "#e8ecf0",
    muted: "#a3adb8",
    grid: "#2b323a",
    heart: "#f07f2a",
    positions: "#56b4e9",
    device: "#e39cc3",
    altitude: "#2cc295",
    grade: "#a5a8f0",
    finding: "#e69f00",
    rest: "#7d8792",
};

/// The style of a picture that stands alone: light, on its own ground.
pub fn picture() -> String {
    charts(&LIGHT)
}

/// The style of a page, which follows the reader's scheme and is light on paper.
pub fn page() -> String {
    let (light, dark) = (charts(&LIGHT), charts(&DARK));
    format!("{PAGE}{light}@media screen and (prefers-color-scheme: dark) {{\n{DARK_PAGE}{dark}}}\n")
}

fn charts(palette: &Palette) -> String {
    let Palette { ground, ink, muted, grid, finding, rest, .. } = palette;
    let tones = [
        ("heart", palette.heart),
        ("positions", palette.positions),
        ("device", palette.device),
        ("altitude", palette.altitude),
        ("grade", palette.grade),
    ];
    let tone = |(class, colour): (&str, &str)| {
        format!(
            ".chart .{class}{{stroke:{colour}}}.chart .area.{class},.chart .off.{class}{{fill:{colour};stroke:none}}\n"
        )
    };
    let tones: String = tones.into_iter().map(tone).collect();
    format!(
        ".chart text{{font-family:system-ui,-apple-system,\"Segoe UI\",Roboto,\"Helvetica Neue\",Arial,sans-serif;\
         fill:{ink};font-size:12px}}\n\
         .chart .name{{font-size:14px;font-weight:600}}\n\
         .chart .unit{{font-weight:400;fill:{muted}}}\n\
         .chart .tick{{font-size:11.5px;fill:{muted}}}\n\
         .chart .label{{font-size:11.5px;font-weight:600}}\n\
         .chart .ground{{fill:{ground}}}\n\
         .chart .line{{fill:none;stroke-width:1.6;stroke-linejoin:round;stroke-linecap:round}}\n\
         .chart .dashes{{stroke-dasharray:5 3;stroke-linecap:butt}}\n\
         .chart .line.heart{{stroke-width:1.2;stroke-opacity:.6}}\n\
         .chart .dots{{fill:none;stroke-linecap:round}}\n\
         .chart .strokes{{fill:none;stroke-width:4;stroke-linecap:butt}}\n\
         .chart .area{{fill-opacity:.18}}\n\
         .chart .grid{{fill:none;stroke:{grid};stroke-width:1}}\n\
         .chart .axis{{fill:none;stroke:{muted};stroke-width:1}}\n\
         .chart .level{{fill:none;stroke:{muted};stroke-width:1;stroke-dasharray:2 3}}\n\
         .chart .finding{{fill:{finding};fill-opacity:.24}}\n\
         .chart .edge{{fill:{finding}}}\n\
         .chart .pause{{fill:{rest};fill-opacity:.34}}\n\
         .chart .gap{{fill:{rest};fill-opacity:.14;stroke:{rest};stroke-width:1;stroke-dasharray:2 2}}\n\
         .chart .lost{{stroke-dasharray:7 3}}\n\
         {tones}"
    )
}

const PAGE: &str = "\
:root{color-scheme:light dark}
*{box-sizing:border-box}
body{margin:0;background:#fff;color:#1b1f24;font:15px/1.5 system-ui,-apple-system,\"Segoe UI\",Roboto,\
\"Helvetica Neue\",Arial,sans-serif}
.page{max-width:1000px;margin:0 auto;padding:24px}
h1{font-size:26px;line-height:1.25;margin:0 0 8px}
h2{font-size:20px;line-height:1.3;margin:0 0 10px}
h3{font-size:15px;margin:18px 0 6px}
p{margin:0 0 10px}
a{color:#0a5c93}
a:focus-visible{outline:2px solid #0072b2;outline-offset:2px}
.muted{color:#57606a}
.badge{display:inline-block;padding:1px 9px;border-radius:10px;font-size:12.5px;font-weight:600;\
border:1px solid #57606a;white-space:nowrap;vertical-align:2px}
.badge.synthetic{background:#f0e442;color:#1b1f24;border-color:#8a8200;letter-spacing:.05em}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:6px 12px 6px 0;border-bottom:1px solid #d8dde3;vertical-align:top}
th{font-size:13px;color:#57606a;font-weight:600}
td.number,th.number{text-align:right}
td{white-space:nowrap}
td.findings{white-space:normal}
footer{border-top:2px solid #d8dde3;margin-top:32px;padding-top:20px;font-size:14px}
ul{margin:0;padding-left:20px}
.meter{display:inline-block;width:60px;height:8px;border-radius:4px;background:#d8dde3;margin-right:8px;\
vertical-align:1px;overflow:hidden}
.meter i{display:block;height:8px;background:#0072b2}
section.workout{border-top:2px solid #d8dde3;margin-top:32px;padding-top:20px}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(210px,1fr));gap:8px 20px;margin:0 0 14px}
dt{font-size:12.5px;color:#57606a}
dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
figure{margin:0 0 12px}
svg.chart{display:block;width:100%;height:auto}
svg.narrow{display:none}
.missing{padding:12px 14px;border:1px dashed #8b949e;border-radius:6px;color:#57606a}
ol{margin:0;padding-left:26px}
li{margin:0 0 4px}
.time{font-variant-numeric:tabular-nums;white-space:nowrap}
@media screen and (max-width:640px){
.page{padding:14px 12px}
h1{font-size:22px}
svg.wide{display:none}
svg.narrow{display:block}
dl{grid-template-columns:1fr 1fr;gap:8px 14px}
table.index thead{display:none}
table.index tr{display:block;padding:8px 0;border-bottom:1px solid #d8dde3}
table.index td{display:inline-block;border:0;padding:0 10px 0 0;text-align:left}
table.index td.findings{display:block}
}
@media print{
body{font-size:11pt}
.page{max-width:none;padding:0}
section.workout{break-before:page;border-top:0;margin-top:0}
figure,dl,li{break-inside:avoid}
.back{display:none}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
}
";

const DARK_PAGE: &str = "\
body{background:#14181d;color:#e8ecf0}
a{color:#7cc4f0}
.muted,th,dt,.missing{color:#a3adb8}
.badge{border-color:#a3adb8}
th,td,section.workout,footer,table.index tr{border-color:#353d46}
.meter{background:#353d46}
.meter i{background:#56b4e9}
";
