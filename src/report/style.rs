//! The style sheet of reports: light and dark, screen, phone and paper. Unaware of what is shown.
//!
//! Series have colours of Okabe and Ito (2008) or near ones, which people with any common colour vision tell apart,
//! and differ in dash and mark too.

/// The style sheet.
pub const STYLE: &str = "\
:root{color-scheme:light dark;--ground:#fff;--ink:#1b1f24;--muted:#57606a;--rule:#d8dde3;--faint:#f4f6f8;--link:#0a5c93;
--c0:#0072b2;--c1:#d55e00;--c2:#008a65;--c3:#b8548f;--c4:#5b5fc7;--c5:#57606a;--good:#0a6b4b;--bad:#b3261e;--open:#7a5c00}
@media screen and (prefers-color-scheme:dark){:root{--ground:#14181d;--ink:#e8ecf0;--muted:#a3adb8;--rule:#353d46;
--faint:#1d232a;--link:#7cc4f0;--c0:#56b4e9;--c1:#f07f2a;--c2:#2cc295;--c3:#e39cc3;--c4:#a5a8f0;--c5:#a3adb8;
--good:#4fd0a0;--bad:#ff8a80;--open:#e9c46a}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,-apple-system,\"Segoe UI\",Roboto,\
\"Helvetica Neue\",Arial,sans-serif}
.page{max-width:980px;margin:0 auto;padding:24px}
h1{font-size:27px;line-height:1.25;margin:0 0 8px;overflow-wrap:anywhere}
h2{font-size:20px;margin:0 0 10px}
h3{font-size:16px;margin:20px 0 6px;overflow-wrap:anywhere}
p{margin:0 0 10px;max-width:75ch;overflow-wrap:anywhere}
a{color:var(--link)}
a:focus-visible,summary:focus-visible{outline:2px solid var(--c0);outline-offset:2px}
nav{display:flex;flex-wrap:wrap;gap:4px 14px;margin:0 0 8px;font-size:14px}
.banner{background:#f0e442;color:#1b1f24;border:1px solid #8a8200;border-radius:6px;padding:10px 14px;font-weight:600;\
margin:0 0 16px}
section{border-top:2px solid var(--rule);margin-top:28px;padding-top:18px}
.verdict{border-left:5px solid var(--open);background:var(--faint);padding:8px 14px;margin:0 0 8px;border-radius:0 6px 6px 0}
.verdict.good{border-color:var(--good)}.verdict.bad{border-color:var(--bad)}
.verdict p,.check{margin:0}
.check{padding:2px 0 2px 26px;text-indent:-22px;max-width:75ch;overflow-wrap:anywhere}
.sign{display:inline-block;width:22px;text-indent:0;font-weight:700}
.good .sign{color:var(--good)}.bad .sign{color:var(--bad)}.open .sign{color:var(--open)}
figure{margin:14px 0 18px}
figcaption{font-size:14px;color:var(--muted);max-width:80ch}
figcaption strong{color:var(--ink);display:block;font-size:15px}
.scroll{overflow-x:auto;max-width:100%}
img.drawing{max-width:100%;height:auto;background:#fff}
svg{display:block;width:100%;min-width:660px;height:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:14px;margin:6px 0 12px}
th,td{text-align:left;padding:4px 14px 4px 0;border-bottom:1px solid var(--rule);vertical-align:top;white-space:nowrap}
td.long{white-space:normal;min-width:220px;overflow-wrap:anywhere}
th{font-size:13px;color:var(--muted);font-weight:600;vertical-align:bottom}
td.number,th.number{text-align:right}
details{margin:4px 0}
details.fold{margin:8px 0}
code{font-size:.92em;background:var(--faint);border-radius:4px;padding:0 3px}
summary{cursor:pointer;font-size:14px;color:var(--link)}
pre{background:var(--faint);padding:10px 12px;overflow-x:auto;max-height:480px;border-radius:6px;font-size:13px;margin:0 0 12px}
footer{border-top:2px solid var(--rule);margin-top:32px;padding-top:14px;font-size:13.5px;color:var(--muted)}
svg text{font-size:12px;fill:var(--ink);stroke:none}
svg .tick{font-size:11.5px;fill:var(--muted)}
svg .strong{font-weight:600}
svg path{fill:none}
svg .grid{stroke:var(--rule)}
svg .axis{stroke:var(--muted)}
svg .zero{stroke:var(--ink);stroke-width:1.2}
svg .dash{stroke:var(--muted);stroke-dasharray:5 4}
svg .line{stroke-width:1.8;stroke-linejoin:round}
svg .thin{stroke-width:1;stroke-opacity:.65}
svg .thick{stroke-width:3}
svg .stroke{stroke-width:2}
svg .solid{stroke:none}
svg .halo{paint-order:stroke;stroke:var(--ground);stroke-width:3px;stroke-linejoin:round}
svg .band{fill:var(--muted);stroke:none}
svg .box{fill:var(--faint);stroke:var(--muted)}
svg .ran{fill:var(--c0);stroke:none}svg .reused{fill:var(--c2);stroke:none}svg .failed{fill:var(--c1);stroke:none}
svg .skipped{fill:var(--c5);stroke:none}svg .unended{fill:var(--c3);stroke:none}
svg .d1{stroke-dasharray:8 4}svg .d2{stroke-dasharray:2 3}svg .d3{stroke-dasharray:9 3 2 3}svg .d4{stroke-dasharray:4 2}\
svg .d5{stroke-dasharray:1 2}
svg .c0{stroke:var(--c0)}svg .c1{stroke:var(--c1)}svg .c2{stroke:var(--c2)}svg .c3{stroke:var(--c3)}\
svg .c4{stroke:var(--c4)}svg .c5{stroke:var(--c5)}
svg .c0.solid{fill:var(--c0)}svg .c1.solid{fill:var(--c1)}svg .c2.solid{fill:var(--c2)}svg .c3.solid{fill:var(--c3)}\
svg .c4.solid{fill:var(--c4)}svg .c5.solid{fill:var(--c5)}
svg .c0.area{fill:var(--c0)}svg .c1.area{fill:var(--c1)}svg .c2.area{fill:var(--c2)}svg .c3.area{fill:var(--c3)}\
svg .c4.area{fill:var(--c4)}svg .c5.area{fill:var(--c5)}svg .area{stroke:none;fill-opacity:.16}
svg circle.stroke{fill:none}
svg .solid{stroke:none}
@media screen and (max-width:640px){.page{padding:14px 12px}h1{font-size:22px}}
@media print{:root{color-scheme:light}body{font-size:10pt}.page{max-width:none;padding:0}nav,summary{display:none}\
details.fold>summary{display:block;list-style:none;color:var(--ink);font-weight:600}\
details::details-content{content-visibility:visible;height:auto}.scroll,pre{overflow:visible}pre{max-height:none;white-space:pre-wrap;\
overflow-wrap:anywhere;font-size:8pt}figure,.verdict,tr{break-inside:avoid}h2,h3,figcaption{break-after:avoid}\
figure details{break-inside:auto}svg{min-width:0;max-height:200mm}table{font-size:8.5pt;max-width:100%}\
th,td{white-space:normal;overflow-wrap:break-word;padding-right:8px}td.number{white-space:nowrap}th,td.long,td:first-child{\
overflow-wrap:anywhere}td.long,td:first-child{min-width:70px}\
table.wide{font-size:6.5pt}table.wide :is(th,td){white-space:normal;overflow-wrap:anywhere;padding-right:4px;min-width:0;\
font-size:inherit}\
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
";
