// x between pixels, whose centres are at whole numbers.
fn between(image: u32, at: vec2f, border: u32) -> vec4f {
    let low = floor(at);
    let t = at - low;
    let corner = vec2i(low);
    let top = mix(x[item_of(image, corner, border)], x[item_of(image, corner + vec2i(1, 0), border)], t.x);
    let bottom = mix(x[item_of(image, corner + vec2i(0, 1), border)],
                     x[item_of(image, corner + vec2i(1, 1), border)], t.x);
    return mix(top, bottom, t.y);
}
