//! Charts in SVG from a few pieces: a scale, axes, marks. Colours come from classes (see `theme`).

mod axis;
mod bars;
mod dots;
mod heat;
mod marks;
mod matrix;
mod names;
mod picture;
mod plot;
mod reliability;
mod text;

pub use axis::Axis;
pub use bars::histogram;
pub use dots::{Dot, dots};
pub use heat::heat_map;
pub use marks::swatch;
pub use matrix::{Shaded, matrix};
pub use picture::picture;
pub use plot::{NamedPoint, Plot, Size};
pub use reliability::{NEARLY_EMPTY, reliability};
pub use text::{escape, width};

/// A drawing of its own, in units that are pixels where there is room.
#[derive(Clone, Debug)]
pub struct Panel {
    pub title: String,
    /// For readers who do not see it.
    pub description: String,
    pub width: f64,
    pub height: f64,
    /// SVG, without the element around it.
    pub body: String,
}
