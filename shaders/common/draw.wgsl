// Random words of the corruptions: a Philox block with
//   key = seed,  counter = (image, point, stream, 256 + corruption),
// so that they do not depend on the batch or on the severity. Gates have other values in the last word.

//# include "common/philox"

fn draw(image: u32, point: u32, stream: u32) -> vec4u {
    let counter = vec4u(params.first_image + image, point, stream, 256u + params.corruption);
    return philox(counter, vec2u(params.seed_low, params.seed_high));
}

// (bits + 1/2) / 2^32
fn unit(bits: vec4u) -> vec4f {
    return (vec4f(bits) + 0.5) * 0x1p-32;
}
