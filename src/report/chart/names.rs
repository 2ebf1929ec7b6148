//! Where the names of points go.

/// A point that gets a name, in pixels.
pub struct Mark {
    pub x: f64,
    pub y: f64,
    /// From its middle to the name.
    pub gap: f64,
    pub name_width: f64,
}

/// Half the side of the square that nothing is written over.
const POINT: f64 = 4.0;

/// The middle of each name: above its point, below it, to the left or to the right, a line further up or down,
/// whichever first touches no point, no earlier name and not the end of the picture; above it where all do.
pub fn beside(marks: &[Mark], height: f64, picture_width: f64) -> Vec<(f64, f64)> {
    let mut taken: Vec<Area> = marks
        .iter()
        .map(|mark| Area::around((mark.x, mark.y), POINT, POINT))
        .collect();
    let mut places = Vec::new();
    for mark in marks {
        let (up, across) = (mark.gap + height / 2.0, mark.gap + mark.name_width / 2.0);
        let line = 1.2 * height;
        let candidates = [
            (mark.x, mark.y - up),
            (mark.x, mark.y + up),
            (mark.x - across, mark.y),
            (mark.x + across, mark.y),
            (mark.x, mark.y - up - line),
            (mark.x, mark.y + up + line),
        ];
        let area = |place| Area::around(place, mark.name_width / 2.0, height / 2.0);
        let is_free = |place: &&(f64, f64)| {
            let area = area(**place);
            area.right <= picture_width && !taken.iter().any(|other| area.touches(other))
        };
        let place = *candidates.iter().find(is_free).unwrap_or(&candidates[0]);
        taken.push(area(place));
        places.push(place);
    }
    places
}

struct Area {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Area {
    fn around((x, y): (f64, f64), half_width: f64, half_height: f64) -> Self {
        Self {
            left: x - half_width,
            right: x + half_width,
            top: y - half_height,
            bottom: y + half_height,
        }
    }

    fn touches(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(x: f64, y: f64) -> Mark {
        Mark {
            x,
            y,
            gap: 5.0,
            name_width: 30.0,
        }
    }

    #[test]
    fn names_make_way() {
        let alone = beside(&[mark(50.0, 50.0)], 10.0, 200.0);
        assert_eq!(alone, [(50.0, 40.0)]);
        let close = beside(&[mark(50.0, 50.0), mark(60.0, 50.0)], 10.0, 200.0);
        assert_eq!(close, [(50.0, 40.0), (60.0, 60.0)]);
        let same = [0, 1, 2].map(|_| mark(190.0, 50.0));
        let third = beside(&same, 10.0, 207.0)[2];
        assert_eq!(third, (170.0, 50.0));
        let crowd = [
            mark(160.0, 50.0),
            mark(190.0, 50.0),
            mark(190.0, 50.0),
            mark(190.0, 50.0),
        ];
        // Left of it is a point, right of it the end.
        assert_eq!(beside(&crowd, 10.0, 207.0)[3], (190.0, 28.0));
        // At the right end there is room on the left alone.
        let end = beside(&[mark(190.0, 50.0)], 10.0, 200.0);
        assert_eq!(end, [(170.0, 50.0)]);
    }
}
