//! Storage of commands.

use mosaik::groups::{Command, Cursor, InMemoryLogStore, Index, IndexRange, Storage, Term};

/// As little as a store of the program's own must have.
#[derive(Default)]
struct Shelf(Vec<(u64, Term)>);

impl Storage<u64> for Shelf {
    fn append(&mut self, command: u64, term: Term) -> Index {
        self.0.push((command, term));
        self.last().index()
    }

    fn available(&self) -> IndexRange {
        Index::zero()..=self.last().index()
    }

    fn get(&self, index: Index) -> Option<(u64, Term)> {
        self.0.get(index.as_usize().checked_sub(1)?).copied()
    }

    fn get_range(&self, range: &IndexRange) -> Vec<(Term, Index, u64)> {
        let all = (1..).map(Index).zip(&self.0);
        all.filter(|(index, _)| range.contains(index))
            .map(|(index, (command, term))| (*term, index, *command))
            .collect()
    }

    fn truncate(&mut self, at: Index) {
        self.0.truncate(at.prev().as_usize());
    }

    fn last(&self) -> Cursor {
        let term = self.0.last().map_or(Term::zero(), |(_, term)| *term);
        Cursor::new(term, self.0.len().into())
    }

    fn prune_prefix(&mut self, _: Index) {}
}

fn filled<S: Storage<u64> + Default>() -> S {
    let mut store = S::default();
    assert_eq!(
        (store.available(), store.last()),
        (Index(0)..=Index(0), Cursor::zero())
    );
    assert_eq!(store.append(10, Term(1)), 1);
    assert_eq!(store.append(20, Term(1)), 2);
    assert_eq!(store.append(30, Term(2)), 3);
    store
}

#[test]
fn every_store_keeps_commands_in_order() {
    fn keeps<S: Storage<u64> + Default>() {
        let mut store = filled::<S>();
        assert_eq!(store.get(2.into()), Some((20, Term(1))));
        assert_eq!((store.get(0.into()), store.get(4.into())), (None, None));
        let clamped = store.get_range(&(Index(2)..=Index(9)));
        assert_eq!(clamped, [(Term(1), Index(2), 20), (Term(2), Index(3), 30)]);
        assert_eq!(store.term_at(0.into()), Some(Term::zero()));
        assert_eq!(
            (store.term_at(3.into()), store.term_at(4.into())),
            (Some(Term(2)), None)
        );
        store.truncate(2.into());
        assert_eq!(store.last(), Cursor::new(Term(1), Index(1)));
        // Never panics, whether or not the store can follow.
        store.reset_to(Cursor::new(Term(5), Index(7)));
        store.reset_to(Cursor::zero());
    }
    keeps::<Shelf>();
    keeps::<InMemoryLogStore<u64>>();
}

#[test]
fn the_store_in_memory_remembers_where_it_was_pruned() {
    let mut store: InMemoryLogStore<u64> = filled();
    store.prune_prefix(0.into());
    store.prune_prefix(2.into());
    store.prune_prefix(1.into());
    assert_eq!(store.available(), Index(2)..=Index(3));
    assert_eq!(
        (store.get(2.into()), store.get(3.into())),
        (None, Some((30, Term(2))))
    );
    assert_eq!(store.term_at(2.into()), Some(Term(1)));
    store.prune_prefix(9.into());
    assert_eq!(store.last(), Cursor::new(Term(2), Index(3)));
    store.truncate(1.into());
    assert_eq!(store.append(40, Term(3)), 4);
    let cursor = Cursor::new(Term(5), Index(7));
    store.reset_to(cursor);
    assert_eq!(
        (store.last(), store.term_at(7.into())),
        (cursor, Some(Term(5)))
    );
    assert_eq!(store.append(80, Term(5)), 8);
    assert_eq!(
        format!("{store:?}"),
        "InMemoryLogStore { available: Index(7)..=Index(8), .. }"
    );
}

#[test]
fn the_command_type_of_the_store_in_memory_is_inferred() {
    fn command_of<C: Command>(_: impl Storage<C>) -> Option<C> {
        None
    }
    let mut command = command_of(InMemoryLogStore::default());
    assert_eq!(command.take(), None::<u64>);
}
