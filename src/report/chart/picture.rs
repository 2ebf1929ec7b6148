//! An image with lines of text under it.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, RgbImage};

use super::Panel;
use super::text::{escape, fitted};

const SIDE: f64 = 150.0;

/// `pixels` is base64 of RGB, `[side, side, 3]`; `None` where it is not. Enlarged without smoothing.
pub fn picture(pixels: &str, side: usize, lines: &[String]) -> Option<Panel> {
    let bytes = STANDARD.decode(pixels).ok()?;
    let image = RgbImage::from_raw(side as u32, side as u32, bytes).filter(|_| side > 0)?;
    let mut png = Cursor::new(Vec::new());
    image.write_to(&mut png, ImageFormat::Png).ok()?;
    let png = STANDARD.encode(png.into_inner());
    let mut body = format!(
        "<image x=\"0\" y=\"0\" width=\"{SIDE}\" height=\"{SIDE}\" style=\"image-rendering:pixelated\" \
         href=\"data:image/png;base64,{png}\"/>"
    );
    for (index, line) in lines.iter().enumerate() {
        body += &format!(
            "<text{} x=\"0\" y=\"{:.0}\">{}</text>",
            if index == 0 { " class=\"title\"" } else { "" },
            SIDE + 17.0 + 15.0 * index as f64,
            escape(&fitted(line, if index == 0 { 13.0 } else { 11.0 }, SIDE))
        );
    }
    Some(Panel {
        title: lines.first().cloned().unwrap_or_default(),
        description: lines.join(", "),
        width: SIDE,
        height: SIDE + 10.0 + 15.0 * lines.len() as f64,
        body,
    })
}
