//! SVG to PNG, with embedded fonts, so that it is the same on every machine.

use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::Database;
use resvg::usvg::{self, Options, Tree};

static FONTS: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = Database::new();
    fonts.load_font_data(include_bytes!("../../assets/fonts/Inter-Regular.otf").to_vec());
    fonts.load_font_data(include_bytes!("../../assets/fonts/Inter-SemiBold.otf").to_vec());
    Arc::new(fonts)
});

/// Pixels of the PNG to a unit of the SVG.
const SCALE: f32 = 2.0;

/// A PNG file of a whole SVG.
///
/// # Errors
/// If it is not an SVG.
pub fn png(svg: &str) -> Result<Vec<u8>, usvg::Error> {
    let options = Options {
        font_family: "Inter".into(),
        fontdb: FONTS.clone(),
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options)?;
    let size = tree.size().to_int_size().scale_by(SCALE);
    let size = size.ok_or(usvg::Error::InvalidSize)?;
    let mut pixmap = Pixmap::new(size.width(), size.height()).ok_or(usvg::Error::InvalidSize)?;
    let scale = Transform::from_scale(SCALE, SCALE);
    resvg::render(&tree, scale, &mut pixmap.as_mut());
    Ok(pixmap.encode_png().expect("to memory"))
}
