//! [`Recent`]: what was computed lately, to be used again.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;
use std::sync::Mutex;

/// Two generations of results of a pure function. A full one becomes the older one, and what was older is forgotten: who fills
/// it costs the others time and nothing else. Never waits, for a child of a fork may find it locked for ever.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    generations: Mutex<Option<Generations<K, V>>>,
    /// What one generation may weigh.
    limit: usize,
}

#[derive(Debug)]
struct Generations<K, V> {
    newer: HashMap<K, V>,
    older: HashMap<K, V>,
    /// Of the newer one.
    weight: usize,
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    pub const fn new(limit: usize) -> Self {
        Self { generations: Mutex::new(None), limit }
    }

    /// The result of a key, made if it is not remembered. It weighs so much.
    pub fn get_or_make(&self, key: K, weight: usize, make: impl FnOnce() -> V) -> V {
        self.get(&key).unwrap_or_else(|| {
            let value = make();
            self.put(key, weight, value.clone());
            value
        })
    }

    fn get(&self, key: &K) -> Option<V> {
        let generations = self.generations.try_lock().ok()?;
        let Generations { newer, older, .. } = generations.as_ref()?;
        newer.get(key).or_else(|| older.get(key)).cloned()
    }

    fn put(&self, key: K, weight: usize, value: V) {
        let Ok(mut generations) = self.generations.try_lock() else { return };
        let empty = || Generations { newer: HashMap::new(), older: HashMap::new(), weight: 0 };
        let generations = generations.get_or_insert_with(empty);
        if generations.weight + weight > self.limit {
            generations.older = mem::take(&mut generations.newer);
            generations.weight = 0;
        }
        generations.weight += weight;
        generations.newer.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(recent: &Recent<u32, u32>) -> [usize; 2] {
        let generations = recent.generations.lock().expect("no panic");
        generations.as_ref().map_or([0; 2], |both| [both.newer.len(), both.older.len()])
    }

    #[test]
    fn it_makes_what_it_forgot_and_remembers_no_more_than_two_generations() {
        let recent = Recent::new(4);
        for number in 0..100 {
            assert_eq!(recent.get_or_make(number, 2, || number * number), number * number);
            assert_eq!(recent.get_or_make(number, 2, || panic!("it is remembered")), number * number);
            assert!(sizes(&recent).iter().all(|size| *size <= 2));
        }
        assert_eq!((recent.get(&96), recent.get(&95)), (Some(96 * 96), None));
        assert_eq!(recent.get_or_make(95, 2, || 7), 7);
    }

    #[test]
    fn what_weighs_more_than_a_generation_is_alone_in_one() {
        let recent = Recent::new(4);
        [(1, 3), (2, 9), (3, 1)].into_iter().for_each(|(key, weight)| recent.put(key, weight, key));
        assert_eq!([1, 2, 3].map(|key| recent.get(&key)), [None, Some(2), Some(3)]);
        assert_eq!(sizes(&recent), [1, 1]);
    }

    #[test]
    fn it_does_not_wait_for_its_lock() {
        let recent = Recent::new(4);
        recent.put(1, 1, 1);
        let held = recent.generations.lock();
        assert_eq!(recent.get_or_make(1, 1, || 2), 2);
        drop(held);
        assert_eq!(recent.get(&1), Some(1));
    }
}
