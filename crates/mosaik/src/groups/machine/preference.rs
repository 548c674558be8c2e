//! The preference for leadership that a node has in a group, which a later handle may raise.

use parking_lot::Mutex;

use super::state_machine::LeadershipPreference;

/// The preference of all handles of one node for one group. Whoever acts on it looks here each time: a
/// copy would not hear of a handle that comes later.
#[derive(Debug)]
pub(crate) struct Preference(Mutex<LeadershipPreference>);

impl Preference {
    pub(crate) fn new(preference: LeadershipPreference) -> Self {
        Self(Mutex::new(preference))
    }

    pub(crate) fn get(&self) -> LeadershipPreference {
        *self.0.lock()
    }

    /// Another handle has come: it makes a member of an observer, and changes nothing else. Returns
    /// whether it has.
    pub(crate) fn raise(&self, to: LeadershipPreference) -> bool {
        let mut current = self.0.lock();
        let raises = current.is_observer() && !to.is_observer();
        if raises {
            *current = to;
        }
        raises
    }

    pub(crate) fn observes(&self) -> bool {
        self.get().is_observer()
    }

    /// Returns whether the member stands for election by itself; reluctant ones are told to.
    pub(crate) fn elects(&self) -> bool {
        self.get() == LeadershipPreference::Normal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_handle_makes_a_member_of_an_observer_and_lowers_nothing() {
        let preference = Preference::new(LeadershipPreference::Observer);
        assert!(!preference.raise(LeadershipPreference::Observer));
        assert!(preference.observes() && !preference.elects());
        assert!(preference.raise(LeadershipPreference::Normal));
        assert!(!preference.observes() && preference.elects());
        for later in [
            LeadershipPreference::Observer,
            LeadershipPreference::reluctant(),
        ] {
            assert!(!preference.raise(later));
        }
        assert!(preference.elects());
    }
}
