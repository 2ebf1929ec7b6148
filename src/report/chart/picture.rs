//! An image with lines of text under it.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, RgbImage};

use super::Panel;
use super::plot::TITLE;
use super::text::{escape, fitted};

const SIDE: f64 = 150.0;

/// Up to so many pixels a side every pixel is kept and seen; larger ones are photographs, smoothed and packed as JPEG.
const PIXELATED: u32 = 64;

/// Of a JPEG, 1 to 100.
const QUALITY: u8 = 85;

/// A square image, as large as all of them, above its lines.
pub fn picture(image: &RgbImage, lines: &[String]) -> Panel {
    let mut file = Cursor::new(Vec::new());
    let (kind, style, written) = match image.width() <= PIXELATED {
        true => {
            let written = image.write_to(&mut file, ImageFormat::Png);
            ("png", " style=\"image-rendering:pixelated\"", written)
        }
        false => {
            let encoder = JpegEncoder::new_with_quality(&mut file, QUALITY);
            ("jpeg", "", image.write_with_encoder(encoder))
        }
    };
    written.expect("into memory");
    let file = STANDARD.encode(file.into_inner());
    let mut body = format!(
        "<image x=\"0\" y=\"0\" width=\"{SIDE}\" height=\"{SIDE}\"{style} href=\"data:image/{kind};base64,{file}\"/>"
    );
    for (index, line) in lines.iter().enumerate() {
        body += &format!(
            "<text{} x=\"0\" y=\"{:.0}\">{}</text>",
            if index == 0 { " class=\"title\"" } else { "" },
            SIDE + 17.0 + 15.0 * index as f64,
            escape(&fitted(line, if index == 0 { TITLE } else { 11.0 }, SIDE))
        );
    }
    Panel {
        title: lines.first().cloned().unwrap_or_default(),
        description: lines.join(", "),
        width: SIDE,
        height: SIDE + 10.0 + 15.0 * lines.len() as f64,
        body,
    }
}
