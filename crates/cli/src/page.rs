//! A self-contained HTML page with interactive plots: one file that opens anywhere, without network.
//!
//! The plotting library is embedded once (it comes with the `plotly` crate); everything else is plain HTML and a few lines of CSS.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use plotly::common::{Font, Title};
use plotly::configuration::DisplayModeBar;
use plotly::layout::{Axis, HoverMode, Legend, Margin};
use plotly::{Configuration, Layout, Plot};

/// Colours used for the same thing in every plot; distinguishable by the colour-blind (Okabe and Ito, 2008).
pub(crate) mod colour {
    /// Demand, what happened.
    pub(crate) const DEMAND: &str = "#1b1b1b";
    /// foreshadow.
    pub(crate) const FORESHADOW: &str = "#0072b2";
    /// Standby capacity of foreshadow.
    pub(crate) const STANDBY: &str = "rgba(86,180,233,0.45)";
    /// The rival.
    pub(crate) const RIVAL: &str = "#d55e00";
    /// Instances that are starting.
    pub(crate) const STARTING: &str = "#b9b4a8";
    /// A forecast's median.
    pub(crate) const FORECAST: &str = "#009e73";
    /// A forecast's band.
    pub(crate) const BAND: &str = "rgba(0,158,115,0.20)";
    /// A bound or an ideal.
    pub(crate) const BOUND: &str = "#7a7a7a";
}

/// A page under construction.
#[derive(Debug)]
pub(crate) struct Page {
    title: String,
    body: String,
    plots: usize,
}

impl Page {
    /// An empty page.
    pub(crate) fn new(title: &str) -> Page {
        Page { title: title.to_owned(), body: String::new(), plots: 0 }
    }

    /// A section heading.
    pub(crate) fn heading(&mut self, text: &str) {
        let _ = writeln!(self.body, "<h2>{}</h2>", escape(text));
    }

    /// A paragraph of plain text.
    pub(crate) fn text(&mut self, text: &str) {
        let _ = writeln!(self.body, "<p>{}</p>", escape(text));
    }

    /// A paragraph that stands out.
    pub(crate) fn lead(&mut self, text: &str) {
        let _ = writeln!(self.body, "<p class=\"lead\">{}</p>", escape(text));
    }

    /// A table; the first column is text, the others are numbers. A row whose first cell is empty continues the one above.
    pub(crate) fn table<R: AsRef<[String]>>(&mut self, header: &[&str], rows: &[R]) {
        self.table_marking(header, rows, None);
    }

    /// A table in which the rows that begin with a name stand out.
    pub(crate) fn table_marking<R: AsRef<[String]>>(
        &mut self,
        header: &[&str],
        rows: &[R],
        name: Option<&str>,
    ) {
        self.body.push_str("<table><thead><tr>");
        for cell in header {
            let _ = write!(self.body, "<th>{}</th>", escape(cell));
        }
        self.body.push_str("</tr></thead><tbody>\n");
        for row in rows {
            let marked = name.is_some() && row.as_ref().first().map(String::as_str) == name;
            self.body.push_str(if marked { "<tr class=\"ours\">" } else { "<tr>" });
            for cell in row.as_ref() {
                let _ = write!(self.body, "<td>{}</td>", escape(cell));
            }
            self.body.push_str("</tr>\n");
        }
        self.body.push_str("</tbody></table>\n");
    }

    /// Large figures side by side: value, what it is, and what to compare it with.
    pub(crate) fn figures(&mut self, figures: &[(String, &str, String)]) {
        self.body.push_str("<div class=\"figures\">\n");
        for (value, label, beside) in figures {
            let _ = writeln!(
                self.body,
                "<div><b>{}</b><span>{}</span><small>{}</small></div>",
                escape(value),
                escape(label),
                escape(beside)
            );
        }
        self.body.push_str("</div>\n");
    }

    /// A bulleted list of sentences.
    pub(crate) fn list(&mut self, sentences: &[String]) {
        self.body.push_str("<ul>\n");
        for sentence in sentences {
            let _ = writeln!(self.body, "<li>{}</li>", escape(sentence));
        }
        self.body.push_str("</ul>\n");
    }

    /// An interactive plot, `height` pixels high, with the sentence under it that says how to read it.
    pub(crate) fn plot(&mut self, plot: &Plot, height: usize, caption: &str) {
        self.plots += 1;
        let id = format!("plot{}", self.plots);
        // A series name comes from the user's file: it must not end the script.
        let json = plot.to_json().replace("</", "<\\/");
        let _ = write!(
            self.body,
            "<figure><div id=\"{id}\" style=\"height:{height}px\"></div>\n\
             <script>Plotly.newPlot(\"{id}\", themed(plots[\"{id}\"] = {json}));</script>\n\
             <figcaption>{}</figcaption></figure>\n",
            escape(caption)
        );
    }

    /// Writes the page to a file.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        crate::output::write_file(path, self.render().as_bytes())
    }

    /// The whole page as text.
    pub(crate) fn render(&self) -> String {
        let library =
            if self.plots > 0 { plotly_library() + "<script>" + THEME + "</script>" } else { String::new() };
        let title = escape(&self.title);
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n{library}\n</head><body><main>\n<h1>{title}</h1>\n{}</main></body></html>\n",
            self.body
        )
    }
}

/// The colours of grid lines and of text in plots.
const GRID: &str = "#ececec";
const INK: &str = "#2b2b2b";

/// The layout all plots share: quiet grid, legend above, one hover label for all lines.
pub(crate) fn layout(title: &str, x: &str, y: &str) -> Layout {
    Layout::new()
        .title(Title::with_text(title).font(Font::new().size(16)).x(0.01))
        .font(Font::new().family("system-ui, sans-serif").size(13).color(INK))
        .x_axis(axis(x))
        .y_axis(axis(y).range_mode(plotly::layout::RangeMode::ToZero))
        .legend(
            Legend::new()
                .orientation(plotly::common::Orientation::Horizontal)
                .x(0.0)
                .y(1.0)
                .y_anchor(plotly::common::Anchor::Bottom),
        )
        .hover_mode(HoverMode::XUnified)
        .paper_background_color("white")
        .plot_background_color("white")
        .margin(Margin::new().left(64).right(24).top(84).bottom(52))
}

/// An axis in the style of [`layout`].
pub(crate) fn axis(title: &str) -> Axis {
    Axis::new().title(Title::with_text(title)).grid_color(GRID).zero_line_color("#bbbbbb").auto_margin(true)
}

/// The behaviour all plots share.
pub(crate) fn configuration() -> Configuration {
    Configuration::new().responsive(true).display_logo(false).display_mode_bar(DisplayModeBar::Hover)
}

/// Text as it may stand in HTML. A number and its percent sign stay on one line.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.replace(" %", "\u{a0}%").chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// Only the plotting library: the crate appends a formula renderer of 2 MB, which nothing here uses.
fn plotly_library() -> String {
    let sources = Plot::offline_js_sources();
    let end = "</script>";
    match sources.find(end) {
        Some(at) => sources[..at + end.len()].to_owned(),
        None => sources,
    }
}

/// Redraws the plots in the colours of the night when that is what the reader prefers. What is not named keeps its colour.
const THEME: &str = r##"
const plots = {}, dark = matchMedia("(prefers-color-scheme: dark)");
const night = {'"white"': '"#1e1f22"', '#ececec': '#33353a', '#bbbbbb': '#55585e', '#2b2b2b': '#d9d6cf', '#1b1b1b': '#eceae4',
  '#0072b2': '#4fb0ee', '#7a7a7a': '#9b9b9b'};
function themed(plot) {
  if (!dark.matches) return plot;
  let text = JSON.stringify(plot);
  for (const [day, colour] of Object.entries(night)) text = text.replaceAll(day, colour);
  return JSON.parse(text);
}
dark.addEventListener("change", () => { for (const id in plots) Plotly.react(id, themed(plots[id])); });
"##;

const STYLE: &str = "\
:root{color-scheme:light dark;--page:#f6f5f2;--card:#fff;--ink:#1b1b1b;--quiet:#555;--rule:#e6e4de}\
@media(prefers-color-scheme:dark){:root{--page:#151618;--card:#1e1f22;--ink:#eceae4;--quiet:#a9a6a0;--rule:#33353a}}\
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}\
main{max-width:1080px;margin:0 auto;padding:24px 20px 64px}\
h1{font-size:30px;line-height:1.2;margin:16px 0 8px}h2{font-size:21px;margin:40px 0 8px}\
p{max-width:760px}p.lead{font-size:20px;line-height:1.4;max-width:860px}\
table{border-collapse:collapse;background:var(--card);font-variant-numeric:tabular-nums;margin:12px 0}\
table{display:block;width:fit-content;max-width:100%;overflow-x:auto}tr.ours{font-weight:700}\
th,td{padding:6px 12px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--rule)}th{border-bottom:2px solid var(--ink)}\
th:first-child,td:first-child{text-align:left}\
figure{margin:16px 0;background:var(--card);border:1px solid var(--rule);padding:8px}figcaption{color:var(--quiet);font-size:14px;padding:4px 8px}\
.figures{display:flex;flex-wrap:wrap;gap:12px;margin:16px 0}\
.figures div{background:var(--card);border:1px solid var(--rule);padding:12px 18px;flex:1 1 200px;display:flex;flex-direction:column}\
.figures b{font-size:30px;line-height:1.1}.figures span{font-weight:600}.figures small{color:var(--quiet)}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_become_markup() {
        let mut page = Page::new("<b>");
        page.text("a < b & \"c\"");
        assert_eq!(page.body, "<p>a &lt; b &amp; &quot;c&quot;</p>\n");
    }

    #[test]
    fn a_series_name_cannot_end_the_script() {
        let mut plot = Plot::new();
        plot.add_trace(plotly::Scatter::new(vec![1], vec![2]).name("</script><script>alert(1)"));
        let mut page = Page::new("t");
        page.plot(&plot, 100, "c");
        assert_eq!(page.body.matches("</script>").count(), 1);
    }

    #[test]
    fn only_the_plotting_library_is_embedded() {
        let library = plotly_library();
        assert!(library.len() > 3_000_000 && library.len() < 6_000_000, "{}", library.len());
        assert_eq!(library.matches("</script>").count(), 1);
    }
}
