//! A figure: panels, a legend, a caption, and its numbers; as HTML, as SVG that stands alone, as CSV.

use super::chart::{Panel, escape, swatch, width};
use super::theme::{self, Style};

/// Pixels between panels, and around them.
const GAP: f64 = 20.0;

/// What one figure shows.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Of its files.
    pub name: String,
    pub title: String,
    /// What is measured, on what, and which way is better.
    pub caption: String,
    pub panels: Vec<Panel>,
    /// Panels side by side, where there is room.
    pub columns: usize,
    pub legend: Vec<(Style, String)>,
    pub numbers: Numbers,
}

/// The figure's numbers, as they are.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    pub header: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

impl Numbers {
    pub fn new(header: &[&'static str]) -> Self {
        Self {
            header: header.to_vec(),
            rows: Vec::new(),
        }
    }

    pub fn csv(&self) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&self.header).expect("into memory");
        for row in &self.rows {
            writer.write_record(row).expect("as long as the header");
        }
        String::from_utf8(writer.into_inner().expect("into memory")).expect("written from strings")
    }
}

impl Figure {
    /// The panels as inline SVG, each with its title and description; `id` is unique on the page.
    pub fn inline(&self, id: &str) -> Vec<String> {
        let panel = |(index, panel): (usize, &Panel)| {
            let id = format!("{id}-{index}");
            format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" role=\"img\" \
                 aria-labelledby=\"{id}-t {id}-d\" viewBox=\"0 0 {w:.0} {h:.0}\">\
                 <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>{}</svg>",
                escape(&format!("{}: {}", self.title, panel.title)),
                escape(&panel.description),
                panel.body,
                w = panel.width,
                h = panel.height,
            )
        };
        self.panels.iter().enumerate().map(panel).collect()
    }

    /// Legend entries: a sample in SVG and the name.
    pub fn legend_entries(&self) -> Vec<(String, &str)> {
        let entry = |(style, _): &(Style, String)| {
            format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" aria-hidden=\"true\" \
                 viewBox=\"0 0 34 14\" width=\"34\" height=\"14\">{}</svg>",
                swatch(style, 0.0, 0.0)
            )
        };
        let names = self.legend.iter().map(|(_, name)| name.as_str());
        self.legend.iter().map(entry).zip(names).collect()
    }

    /// The whole figure as one file; `css` is of the [`theme`].
    pub fn standalone(&self, css: &str) -> String {
        let columns = self.columns.clamp(1, self.panels.len().max(1));
        let widest = self
            .panels
            .iter()
            .map(|panel| panel.width)
            .fold(0.0, f64::max);
        let full = columns as f64 * (widest + GAP) + GAP;
        let full = full.max(width(&self.title, 16.0) + 2.0 * GAP);
        let mut body = format!(
            "<text class=\"heading\" x=\"{GAP}\" y=\"32\">{}</text>",
            escape(&self.title)
        );
        let (mut x, mut y) = (GAP, 44.0);
        for (style, name) in &self.legend {
            let long = 40.0 + width(name, 11.0) + 16.0;
            if x > GAP && x + long > full {
                (x, y) = (GAP, y + 20.0);
            }
            body += &swatch(style, x, y);
            body += &format!(
                "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x + 40.0,
                y + 11.0,
                escape(name)
            );
            x += long;
        }
        if !self.legend.is_empty() {
            y += 24.0;
        }
        for row in self.panels.chunks(columns) {
            for (column, panel) in row.iter().enumerate() {
                let x = GAP + column as f64 * (widest + GAP);
                body += &format!(
                    "<g transform=\"translate({x:.1} {y:.1})\">{}</g>",
                    panel.body
                );
            }
            y += row.iter().map(|panel| panel.height).fold(0.0, f64::max) + GAP;
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" role=\"img\" \
             viewBox=\"0 0 {full:.0} {y:.0}\" width=\"{full:.0}\" height=\"{y:.0}\">\
             <title>{}</title><desc>{}</desc><style>{}</style>\
             <rect class=\"ground\" width=\"{full:.0}\" height=\"{y:.0}\"/>{body}</svg>\n",
            escape(&self.title),
            escape(&self.caption),
            escape(css),
        )
    }

    /// For files that people open: light or dark as they like it.
    pub fn svg(&self) -> String {
        self.standalone(&(theme::light_css() + &theme::dark_css()))
    }
}
