//! What a random query computes.

use rand::Rng;
use rand::rngs::StdRng;

use super::Kind;

#[derive(Clone, Debug)]
pub(super) enum Shape {
    Totals { by_key: bool },
    Windows(Windowed),
    Sessions { gap: i64 },
    Once { within_watermark: bool },
    Join(Joined),
}

/// An aggregation by windows.
#[derive(Clone, Debug)]
pub(super) struct Windowed {
    /// What gives its rows, where these are not the inputs'.
    pub(super) below: Option<Box<Shape>>,
    pub(super) of: Of,
    pub(super) windows: Windows,
    pub(super) by_key: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    pub(super) size: i64,
    pub(super) slide: i64,
}

/// What windows are made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Of {
    /// Times.
    Time,
    /// Windows or sessions, which are in the windows that their last moment is in.
    Window,
    /// The last moments of windows or sessions, taken out by the query.
    WindowTime,
    /// Windows, as they are.
    Same,
}

/// A join of the two inputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joined {
    pub(super) how: How,
    pub(super) on: On,
    /// Whether an operator above takes the left time. Otherwise it takes the right one.
    pub(super) by_left: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum How {
    Inner,
    Left,
    Right,
    Full,
    Semi,
}

/// When two rows of one key meet.
#[derive(Clone, Copy, Debug)]
pub(super) enum On {
    /// In equal windows of this size.
    Windows(i64),
    /// The right one from `before` the left one to `after` it, bounds included.
    Range { before: i64, after: i64 },
}

impl Shape {
    pub(super) fn generate(random: &mut StdRng, kind: Kind, batches_are_known: bool) -> Shape {
        let below = match kind {
            Kind::Totals => return Shape::Totals { by_key: random.random_bool(0.7) },
            Kind::Windows | Kind::Union => return Shape::windows(random),
            Kind::Sessions => return Shape::sessions(random),
            Kind::Deduplication => return Shape::once(random, batches_are_known),
            Kind::Join => return Shape::Join(Joined::generate(random)),
            Kind::WindowsOfWindows => Shape::windows(random),
            Kind::WindowsOfSessions => Shape::sessions(random),
            Kind::WindowsOfDeduplication => Shape::once(random, batches_are_known),
            Kind::WindowsOfJoin => Shape::Join(Joined::generate(random)),
        };
        let above = Shape::windows_of(random, below);
        if random.random_bool(0.3) { Shape::windows_of(random, above) } else { above }
    }

    /// Only sessions do.
    pub(super) fn drops_late_rows_in_complete_mode(&self) -> bool {
        matches!(self, Shape::Sessions { .. })
    }

    fn windows(random: &mut StdRng) -> Shape {
        let windows = Windows::generate(random);
        let by_key = random.random_bool(0.7);
        Shape::Windows(Windowed { below: None, of: Of::Time, windows, by_key })
    }

    fn windows_of(random: &mut StdRng, below: Shape) -> Shape {
        let ways: &[Of] = match below {
            Shape::Windows(_) | Shape::Join(Joined { on: On::Windows(_), .. }) => {
                &[Of::Window, Of::WindowTime, Of::Same]
            }
            Shape::Sessions { .. } => &[Of::Window, Of::WindowTime],
            _ => &[Of::Time],
        };
        let of = ways[random.random_range(0..ways.len())];
        let windows = match &below {
            Shape::Windows(below) if of == Of::Same => below.windows,
            Shape::Join(Joined { on: On::Windows(size), .. }) if of == Of::Same => {
                Windows { size: *size, slide: *size }
            }
            _ => Windows::generate(random),
        };
        let by_key = random.random_bool(0.7);
        Shape::Windows(Windowed { below: Some(Box::new(below)), of, windows, by_key })
    }

    fn sessions(random: &mut StdRng) -> Shape {
        Shape::Sessions { gap: random.random_range(1..60) }
    }

    fn once(random: &mut StdRng, batches_are_known: bool) -> Shape {
        Shape::Once { within_watermark: batches_are_known && random.random_bool(0.5) }
    }
}

impl Windows {
    fn generate(random: &mut StdRng) -> Windows {
        let slide = random.random_range(1..30);
        let size = if random.random_bool(0.5) { slide } else { slide + random.random_range(0..40) };
        Windows { size, slide }
    }
}

impl Joined {
    fn generate(random: &mut StdRng) -> Joined {
        let hows = [How::Inner, How::Left, How::Right, How::Full, How::Semi];
        let on = if random.random_bool(0.5) {
            On::Windows(random.random_range(1..60))
        } else {
            On::Range { before: random.random_range(0..30), after: random.random_range(0..30) }
        };
        let how = hows[random.random_range(0..hows.len())];
        Joined { how, on, by_left: how == How::Semi || random.random_bool(0.5) }
    }
}
