//! Colours by role, in light and dark, and what tells lines apart without colour.
//!
//! The hues are those of Okabe and Ito (2008), made darker or lighter until they can be read on paper
//! and on a dark screen.

/// Name, on white, on black.
const COLOURS: [(&str, &str, &str); 15] = [
    ("paper", "#ffffff", "#14171b"),
    ("raised", "#f4f6f8", "#1d2126"),
    ("ink", "#1b1f24", "#e8eaed"),
    ("muted", "#596069", "#a3abb5"),
    ("grid", "#dfe3e8", "#343a42"),
    ("lora", "#c94f00", "#ff9350"),
    ("bayeslora", "#0068b0", "#5db4f2"),
    ("mc-dropout", "#00785a", "#35c99d"),
    ("ensemble", "#a8457f", "#e79acb"),
    ("laplace", "#8f6800", "#e8bd3f"),
    ("weight-noise", "#5c5f66", "#b9bdc4"),
    ("as-trained", "#7a4b2a", "#cfa787"),
    ("svd", "#00808c", "#52c8d4"),
    ("evidence", "#b3122f", "#ff8795"),
    ("other", "#6b4fb3", "#b7a2f5"),
];

/// Methods, and bases to cut ranks in, with a colour of their own. `docs/plot.py` has the same colours.
const FAMILIES: [&str; 9] = [
    "bayeslora",
    "lora",
    "mc-dropout",
    "ensemble",
    "laplace",
    "weight-noise",
    "as-trained",
    "svd",
    "evidence",
];

const CHART: &str = include_str!("chart.css");

/// For an HTML page, whose charts follow the reader's choice.
pub fn page_css() -> String {
    let variables = |colour: fn(&(&str, &str, &str)) -> String| -> String {
        COLOURS.iter().map(colour).collect::<Vec<_>>().join("")
    };
    let light = variables(|(name, light, _)| format!("--{name}:{light};"));
    let dark = variables(|(name, _, dark)| format!("--{name}:{dark};"));
    format!(
        ":root{{color-scheme:light dark;{light}}}\n\
         @media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n{CHART}"
    )
}

/// For a figure that stands alone, on white.
pub fn light_css() -> String {
    resolved(|(_, light, _)| light)
}

/// What turns [`light_css`] dark for readers who like it so.
pub fn dark_css() -> String {
    format!(
        "@media (prefers-color-scheme:dark){{{}}}",
        resolved(|(_, _, dark)| dark)
    )
}

fn resolved(
    colour: impl Fn(&(&'static str, &'static str, &'static str)) -> &'static str,
) -> String {
    COLOURS.iter().fold(CHART.to_owned(), |css, entry| {
        css.replace(&format!("var(--{})", entry.0), colour(entry))
    })
}

/// How a series looks: its colour is its family's, its dash and marker also tell its sisters apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Style {
    pub colour: &'static str,
    /// Family's number: the marker's shape.
    pub shape: usize,
    /// Number within the family: the dash, and whether the marker is filled.
    pub variant: usize,
}

impl Style {
    pub fn class(&self) -> String {
        format!("c-{} d{}", self.colour, self.variant % 5)
    }
}

/// Gives out styles within one figure.
#[derive(Default)]
pub struct Styles {
    given: Vec<usize>,
}

impl Styles {
    pub fn next(&mut self, family: &str) -> Style {
        let shape = FAMILIES
            .iter()
            .position(|name| *name == family)
            .unwrap_or(FAMILIES.len());
        let variant = self.given.iter().filter(|given| **given == shape).count();
        self.given.push(shape);
        Style {
            colour: FAMILIES.get(shape).unwrap_or(&"other"),
            shape,
            variant,
        }
    }
}
