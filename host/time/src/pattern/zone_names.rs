//! The names of time zones in English, as Java writes and reads them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use crate::Zone;

/// How a zone is called: in winter, in summer, and at any time.
struct Names {
    short: [&'static str; 3],
    full: [&'static str; 3],
}

static WRITTEN: LazyLock<HashMap<&str, Names>> = LazyLock::new(|| {
    let mut names = HashMap::new();
    for line in lines(include_str!("zone_names.txt")) {
        let fields: Vec<&'static str> = line.split('|').collect();
        let [short, short_summer, full, full_summer, short_any, full_any, zones] = fields[..]
        else {
            continue;
        };
        for zone in zones.split(' ') {
            let short = [short, short_summer, short_any];
            names.insert(zone, Names { short, full: [full, full_summer, full_any] });
        }
    }
    names
});

/// Zones by their names in lower case, short and full ones.
static READ: LazyLock<[HashMap<String, Zone>; 2]> = LazyLock::new(|| {
    let mut zones = [HashMap::new(), HashMap::new()];
    for line in lines(include_str!("zones_by_name.txt")) {
        let mut fields = line.split('|');
        let (Some(style), Some(zone)) = (fields.next(), fields.next()) else { continue };
        let Some(zone) = Zone::of_java(zone) else { continue };
        let of_style = &mut zones[usize::from(style == "l")];
        of_style.extend(fields.map(|name| (name.to_lowercase(), zone)));
    }
    zones
});

fn lines(file: &'static str) -> impl Iterator<Item = &'static str> {
    file.lines().filter(|line| !line.starts_with('#'))
}

/// What a zone is called at a moment; at any time where `is_generic`. One that has no name is called
/// by its identifier.
pub(super) fn written(
    zone: Zone,
    micros: i64,
    is_full: bool,
    is_generic: bool,
) -> Cow<'static, str> {
    let names = match zone {
        Zone::Fixed(0) => WRITTEN.get("UTC"),
        Zone::Fixed(_) => None,
        Zone::Of(place) => WRITTEN.get(place.name()),
    };
    let Some(names) = names else { return zone.id() };
    let season = match is_generic {
        true => 2,
        false => usize::from(zone.is_summer(micros)),
    };
    match if is_full { names.full[season] } else { names.short[season] } {
        "" => zone.id(),
        name => name.into(),
    }
}

/// No name of a zone is longer.
pub(super) const NAME_BYTES_MAX: usize = 64;

/// The zone of the longest name that a text begins with, and the name's length.
pub(super) fn read(text: &str, is_full: bool) -> Option<(Zone, usize)> {
    let zones = &READ[usize::from(is_full)];
    let most = text.floor_char_boundary(text.len().min(NAME_BYTES_MAX));
    let mut lower = text[..most].to_ascii_lowercase();
    while !lower.is_empty() {
        if let Some(zone) = zones.get(&lower) {
            return Some((*zone, lower.len()));
        }
        lower.pop();
    }
    None
}
