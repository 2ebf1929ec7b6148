// The four plasma fractals at a pixel, each brought to 0..1 over its whole map.
fn height(place: Place) -> vec4f {
    let at = vec2u(place.at);
    let value = map[(place.image * params.map_side + at.y) * params.map_side + at.x];
    let low = map_range[3u * place.image + 1u];
    let high = map_range[3u * place.image + 2u];
    return (value - low) / (high - low);
}
