//! Who keeps a path that several packages have.
//!
//! conda links packages in topological order and lets a later one overwrite an earlier one's file
//! (`path_conflict: clobber`, its default); it writes entry points after all packages' files and
//! records after those. pip installs afterwards, one wheel after another, and overwrites too. So
//! the path belongs to the highest [`Rank`], in whatever order packages are really written.

use std::collections::HashMap;
use std::io;

use crate::entry::{Entry, Origin, Sink};
use crate::path::PrefixPath;

/// Which installer of `conda env create` a package belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Installer {
    /// conda, first.
    Conda,
    /// pip, afterwards.
    Pip,
}

/// A package's place in the order of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Who installs it.
    pub installer: Installer,
    /// Which of that installer's packages it is.
    pub order: u32,
}

/// What decides over a path; the highest keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    installer: Installer,
    /// pip finishes a wheel before it begins the next: only conda's steps count apart.
    step: Origin,
    order: u32,
}

impl Rank {
    fn new(place: Place, origin: Origin) -> Self {
        let step = match place.installer {
            Installer::Conda => origin,
            Installer::Pip => Origin::Shipped,
        };
        Self {
            installer: place.installer,
            step,
            order: place.order,
        }
    }
}

/// A path that two packages have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// The path.
    pub path: PrefixPath,
    /// Who keeps it.
    pub winner: Place,
    /// Who loses it.
    pub loser: Place,
}

/// The owner of every path of an environment.
#[derive(Debug, Default)]
pub struct Claims {
    owners: HashMap<PrefixPath, (Rank, Place)>,
    clashes: Vec<Clash>,
}

impl Claims {
    /// Takes note of a path that a package has.
    pub fn claim(&mut self, path: &PrefixPath, origin: Origin, place: Place) {
        let rank = Rank::new(place, origin);
        let Some((owner_rank, owner)) = self.owners.get_mut(path) else {
            self.owners.insert(path.clone(), (rank, place));
            return;
        };
        if *owner == place {
            return;
        }
        let (winner, loser) = if rank > *owner_rank {
            (place, *owner)
        } else {
            (*owner, place)
        };
        self.clashes.push(Clash {
            path: path.clone(),
            winner,
            loser,
        });
        if winner == place {
            (*owner_rank, *owner) = (rank, place);
        }
    }

    /// Forgets a path, because pip has removed the package that had it.
    pub fn release(&mut self, path: &PrefixPath) {
        self.owners.remove(path);
    }

    /// Who keeps a path.
    pub fn owner(&self, path: &PrefixPath) -> Option<Place> {
        self.owners.get(path).map(|(_, place)| *place)
    }

    /// The paths that several packages have, in the order of their claims.
    pub fn clashes(&self) -> &[Clash] {
        &self.clashes
    }

    /// A sink that lets through what the package at this place keeps.
    pub fn only<'a>(&'a self, place: Place, sink: &'a mut dyn Sink) -> OwnedPaths<'a> {
        OwnedPaths {
            claims: self,
            place,
            sink,
        }
    }
}

/// See [`Claims::only`].
pub struct OwnedPaths<'a> {
    claims: &'a Claims,
    place: Place,
    sink: &'a mut dyn Sink,
}

impl Sink for OwnedPaths<'_> {
    fn put(&mut self, entry: Entry<'_>) -> io::Result<()> {
        match self.claims.owner(entry.path) {
            Some(owner) if owner != self.place => Ok(()),
            _ => self.sink.put(entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn conda(order: u32) -> Place {
        Place {
            installer: Installer::Conda,
            order,
        }
    }

    const fn pip(order: u32) -> Place {
        Place {
            installer: Installer::Pip,
            order,
        }
    }

    fn owner(claims: &[(Place, Origin)]) -> Option<Place> {
        let path = PrefixPath::new("bin/x").expect("safe");
        let mut all = Claims::default();
        for (place, origin) in claims {
            all.claim(&path, *origin, *place);
        }
        all.owner(&path)
    }

    #[test]
    fn the_last_package_keeps_a_path_in_whatever_order_they_claim_it() {
        use Origin::{EntryPoint, Shipped};
        for (claims, winner) in [
            ([(conda(1), Shipped), (conda(2), Shipped)], conda(2)),
            ([(conda(1), EntryPoint), (conda(2), Shipped)], conda(1)),
            ([(conda(9), EntryPoint), (pip(0), Shipped)], pip(0)),
            ([(pip(0), EntryPoint), (pip(1), Shipped)], pip(1)),
        ] {
            assert_eq!(owner(&claims), Some(winner));
            let [one, other] = claims;
            assert_eq!(owner(&[other, one]), Some(winner));
        }
    }

    #[test]
    fn a_released_path_is_free_and_clashes_are_told() {
        let path = PrefixPath::new("x").expect("safe");
        let mut claims = Claims::default();
        claims.claim(&path, Origin::Shipped, conda(1));
        claims.claim(&path, Origin::Shipped, conda(0));
        let clash = Clash {
            path: path.clone(),
            winner: conda(1),
            loser: conda(0),
        };
        assert_eq!(claims.clashes(), [clash]);
        claims.release(&path);
        assert_eq!(claims.owner(&path), None);
    }
}
