//! Pictures in memory become what files become.

use std::fs;
use std::sync::Arc;

use bayeslora::low_level::data::{DataError, Dataset, Picture, decode_image};
use image::{ImageFormat, Rgba, RgbaImage};

fn rgba(width: u32, height: u32, alpha: u8) -> RgbaImage {
    RgbaImage::from_fn(width, height, |x, y| {
        Rgba([(x * 9) as u8, (y * 5) as u8, (x * y) as u8, alpha])
    })
}

#[test]
fn bytes_and_pixels_give_what_a_file_gives() {
    let directory = tempfile::tempdir().unwrap();
    for (width, height, alpha) in [(40, 40, 255), (70, 31, 255), (31, 70, 120), (1, 5, 0)] {
        let image = rgba(width, height, alpha);
        let file = directory.path().join(format!("{width}.png"));
        image.save_with_format(&file, ImageFormat::Png).unwrap();
        for side in [16, 40] {
            let expected = decode_image(&file, side).unwrap();
            let encoded = fs::read(&file).unwrap();
            let pixels = Picture::Rgba {
                width,
                height,
                pixels: image.as_raw(),
            };
            assert!(Picture::Encoded(&encoded).square(side).unwrap() == expected);
            assert!(pixels.square(side).unwrap() == expected, "{width} {side}");
            if alpha == 255 {
                let opaque: Vec<u8> = image.pixels().flat_map(|p| p.0[..3].to_vec()).collect();
                let pixels = Picture::Rgb {
                    width,
                    height,
                    pixels: &opaque,
                };
                assert!(pixels.square(side).unwrap() == expected);
            }
        }
    }
}

#[test]
fn a_set_is_made_of_pictures() {
    let classes: Arc<[String]> = ["one".to_owned(), "two".to_owned()].into();
    let (small, large) = (rgba(9, 7, 255), rgba(20, 30, 255));
    let picture = |image: &'static RgbaImage| Picture::Rgba {
        width: image.width(),
        height: image.height(),
        pixels: image.as_raw(),
    };
    let [small, large] = [small, large].map(|image| picture(Box::leak(Box::new(image))));
    let set = Dataset::from_pictures(8, &[(small, 1), (large, 0)], classes.clone()).unwrap();
    assert_eq!((set.len(), &set.labels[..]), (2, &[1, 0][..]));
    assert_eq!(set.read(&[1]).unwrap(), large.square(8).unwrap());
    let wrong = Dataset::from_pictures(8, &[(small, 1), (large, 2)], classes);
    assert!(matches!(
        wrong.err(),
        Some(DataError::NoClass {
            image: 1,
            label: 2,
            classes: 2
        })
    ));
}

#[test]
fn what_is_no_picture_is_refused() {
    let refuses = |picture: Picture, says: &str| {
        let error = picture.square(8).unwrap_err();
        let told =
            matches!(error, DataError::BadPicture { .. }) && error.to_string().contains(says);
        assert!(told, "{error}");
    };
    let pixels = [0; 300];
    let rgb = |width, height, pixels| Picture::Rgb {
        width,
        height,
        pixels,
    };
    refuses(rgb(10, 10, &pixels[..299]), "299 bytes for 10 x 10 pixels");
    refuses(rgb(10, 11, &pixels), "which take 330");
    refuses(rgb(10, 9, &pixels), "which take 270");
    refuses(rgb(0, 10, &[]), "0 x 10 pixels");
    refuses(rgb(u32::MAX, u32::MAX, &pixels), "million");
    let rgba = Picture::Rgba {
        width: 10,
        height: 10,
        pixels: &pixels,
    };
    refuses(rgba, "which take 400");
    refuses(Picture::Encoded(b"no picture"), "picture");
    let whole = rgb(10, 10, &pixels);
    let huge = whole.square(u32::MAX as usize).unwrap_err();
    assert!(huge.to_string().contains("the limit is 4096"), "{huge}");
    assert!(matches!(whole.square(0), Err(DataError::Zero { .. })));
}
