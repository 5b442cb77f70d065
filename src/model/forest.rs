//! Trees in one flat list of nodes, so laid out that several ways down are gone at a time.
//!
//! A way down is a chain of loads, each of which waits for the one before. Eight at a time (of eight rows in one
//! tree, or of one row in eight trees) keep a core busy, as long as no step of them branches. So values are looked
//! at as whole numbers in the order of the floats ([`keys`]): a missing value is the largest of all or the
//! smallest, and a node names the one that it sends where missing values go. A leaf is a node that leads to itself, and a
//! split by categories one whose threshold only missing values reach, or a bit of a set.
//!
//! Sums are those of XGBoost: in `f32`, from the base score on, tree by tree.

/// Ways down that are gone at a time.
const LANES: usize = 8;
/// Rows that go through all trees before the next do; their values and sums stay in the nearest cache.
const BLOCK: usize = 64;
/// Steps down the trees from which on another thread is worth its start.
const STEPS_OF_A_THREAD: usize = 2_000_000;
/// Trees that are deeper grew leaf by leaf: most of their leaves are not so deep.
const EVEN_DEPTH: u32 = 8;
/// Sets of categories below this one are kept in one word, whose last bit is none of theirs.
const NARROW: i32 = 63;
/// The key of a missing value that goes right.
const MISSING_RIGHT: i32 = i32::MAX;
/// The key of a missing value that goes left.
const MISSING_LEFT: i32 = i32::MIN;
/// The key of what is no category: it is in no set.
const NO_CATEGORY: i32 = i32::MAX - 1;
/// From here on a float does not hold each whole number: XGBoost's own limit.
const CATEGORIES: i32 = 1 << 24;

/// Trees whose nodes are in one list.
#[derive(Clone, Debug, Default)]
pub(super) struct Forest {
    nodes: Vec<Node>,
    /// What each leaf adds; 0 for other nodes.
    leaves: Vec<f32>,
    /// For each node the categories below [`NARROW`] that go right, a bit each.
    narrow: Vec<u64>,
    /// For each node its set of categories; read in trees only that have one with others.
    wide: Vec<Set>,
    /// The words of the sets, a bit for each category, and a zero after each.
    words: Vec<u64>,
    trees: Vec<Tree>,
    /// How each value of a row is split by; no tree does where there is none.
    features: Vec<Option<Kind>>,
    /// The sums of a row before the first tree.
    base: Vec<f32>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// Which of a row's keys is looked at.
    key: u32,
    /// Keys from this on go right.
    threshold: i32,
    /// The child at the left, and the one at the right is next; a leaf itself.
    left: u32,
}

/// How a value is split by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    Category,
}

#[derive(Clone, Copy, Debug, Default)]
struct Set {
    /// Its first word; that of a node without a set is a zero.
    first: u32,
    /// Its words without the zero at its end.
    words: u32,
}

#[derive(Clone, Copy, Debug)]
struct Tree {
    root: u32,
    /// Steps to its farthest leaf.
    depth: u32,
    /// The sum that its leaves add to.
    output: u32,
    splits: Splits,
}

/// The splits of a tree; a later kind includes those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Splits {
    Numbers,
    /// By categories, all of which are below [`NARROW`].
    Narrow,
    Wide,
}

/// A tree as a file has it: what each column says of the nodes, the root first.
#[derive(Debug, Default)]
pub(super) struct Columns<'a> {
    /// The children; below 0 for a leaf.
    pub left: &'a [i32],
    pub right: &'a [i32],
    /// Whose value is looked at.
    pub feature: &'a [u32],
    /// Values below go left; the value of a leaf.
    pub threshold: &'a [f32],
    /// Whether missing values go left.
    pub missing_left: &'a [bool],
    /// The categories that go right, for each node that splits by them, in rising order of the nodes.
    pub categories: &'a [(usize, &'a [i32])],
}

impl Forest {
    /// A forest without trees, for rows of so many values.
    pub(super) fn new(features: usize, base: Vec<f32>) -> Self {
        Self {
            words: vec![0],
            features: vec![None; features],
            base,
            ..Self::default()
        }
    }

    /// The number of sums of a row.
    pub(super) fn outputs(&self) -> usize {
        self.base.len()
    }

    /// How each value of a row is split by; no tree does where there is none.
    pub(super) fn features(&self) -> &[Option<Kind>] {
        &self.features
    }

    /// Adds a tree whose leaves add to this output.
    ///
    /// # Errors
    /// Why it is no tree, in words.
    pub(super) fn add(&mut self, tree: &Columns, output: usize) -> Result<(), String> {
        if output >= self.base.len() {
            return Err(format!("it adds to the output {output}"));
        }
        let root = self.nodes.len();
        // Level by level, each node by the number that it has in the file, and how deep it is.
        let mut order = vec![(0, 0)];
        let mut splits = Splits::Numbers;
        let mut next = 0;
        while let Some(&(node, depth)) = order.get(next) {
            let child = root + order.len();
            if let Some((children, split)) = self.push(tree, node, root + next, child)? {
                order.extend(children.map(|node| (node, depth + 1)));
                splits = splits.max(split);
            }
            if order.len() > tree.left.len() {
                return Err("its nodes are in a circle".to_owned());
            }
            next += 1;
        }
        self.trees.push(Tree {
            root: number(root)?,
            depth: order.last().map_or(0, |(_, depth)| *depth),
            output: number(output)?,
            splits,
        });
        Ok(())
    }

    /// Adds a node; one that is no leaf will have its children at `child`, and gives them by their numbers in the file.
    fn push(
        &mut self,
        tree: &Columns,
        node: usize,
        place: usize,
        child: usize,
    ) -> Result<Option<([usize; 2], Splits)>, String> {
        let cut = || format!("its node {node} is not there");
        let left = *tree.left.get(node).ok_or_else(cut)?;
        let threshold = *tree.threshold.get(node).ok_or_else(cut)?;
        let Ok(left) = usize::try_from(left) else {
            if !threshold.is_finite() {
                return Err(format!("its leaf {node} is {threshold}"));
            }
            let leaf = Node {
                // Never as large as the threshold: a missing value is the smallest key here.
                key: 1,
                threshold: MISSING_RIGHT,
                left: number(place)?,
            };
            self.keep(leaf, threshold, 0, Set::default());
            return Ok(None);
        };
        let right = tree.right.get(node).and_then(|n| usize::try_from(*n).ok());
        let right = right.ok_or_else(cut)?;
        let set = tree.categories.binary_search_by_key(&node, |(n, _)| *n);
        let set = set.ok().and_then(|at| tree.categories.get(at));
        let feature = *tree.feature.get(node).ok_or_else(cut)?;
        self.split_by(
            feature,
            if set.is_some() {
                Kind::Category
            } else {
                Kind::Number
            },
        )?;
        let (threshold, splits, narrow, wide) = match set {
            Some((_, categories)) => {
                let (splits, narrow, wide) = self.set(categories)?;
                (MISSING_RIGHT, splits, narrow, wide)
            }
            None if threshold.is_nan() => return Err(format!("its node {node} has no threshold")),
            None => (key(threshold), Splits::Numbers, 0, Set::default()),
        };
        let missing_left = *tree.missing_left.get(node).ok_or_else(cut)?;
        let split = Node {
            key: number(2 * feature as usize + usize::from(missing_left))?,
            threshold,
            left: number(child)?,
        };
        self.keep(split, 0.0, narrow, wide);
        Ok(Some(([left, right], splits)))
    }

    fn keep(&mut self, node: Node, leaf: f32, narrow: u64, wide: Set) {
        self.nodes.push(node);
        self.leaves.push(leaf);
        self.narrow.push(narrow);
        self.wide.push(wide);
    }

    /// Notes that a value is split by.
    fn split_by(&mut self, feature: u32, kind: Kind) -> Result<(), String> {
        let known = self.features.get_mut(feature as usize);
        let known = known.ok_or_else(|| format!("it splits by the feature {feature}"))?;
        if known.is_some_and(|known| known != kind) {
            return Err(format!(
                "it splits by the feature {feature} as a number and as a category"
            ));
        }
        *known = Some(kind);
        Ok(())
    }

    /// Keeps a set of categories, as one word and as several.
    fn set(&mut self, categories: &[i32]) -> Result<(Splits, u64, Set), String> {
        let first = self.words.len();
        let (mut splits, mut narrow) = (Splits::Narrow, 0);
        for &category in categories {
            if !(0..CATEGORIES).contains(&category) {
                return Err(format!("it splits by the category {category}"));
            }
            if category < NARROW {
                narrow |= 1 << category;
            } else {
                splits = Splits::Wide;
            }
            let (word, bit) = (first + category as usize / 64, category % 64);
            if word >= self.words.len() {
                self.words.resize(word + 1, 0);
            }
            self.words[word] |= 1 << bit;
        }
        let words = self.words.len() - first;
        self.words.push(0);
        let wide = Set {
            first: number(first)?,
            words: number(words)?,
        };
        Ok((splits, narrow, wide))
    }

    /// The sums of rows, one row after the other, by every core where the rows are many.
    ///
    /// A row's sums have the same bits alone and in any batch. What follows the last whole row is left out.
    pub(super) fn sums(&self, rows: &[f32]) -> Vec<f32> {
        let (width, outputs) = (self.features.len().max(1), self.outputs());
        let count = rows.len() / width;
        let mut sums = self.base.repeat(count);
        let steps: usize = self.trees.iter().map(|tree| tree.depth as usize + 1).sum();
        let threads = count.saturating_mul(steps) / STEPS_OF_A_THREAD;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if threads > 1 { threads.min(cores()) } else { 1 };
        if threads == 1 || outputs == 0 {
            self.add_up(rows, &mut sums);
            return sums;
        }
        let share = count.div_ceil(threads).next_multiple_of(BLOCK);
        std::thread::scope(|scope| {
            let parts = rows.chunks(share * width);
            for (rows, sums) in parts.zip(sums.chunks_mut(share * outputs)) {
                scope.spawn(move || self.add_up(rows, sums));
            }
        });
        sums
    }

    /// Adds what the trees say of rows to their sums.
    fn add_up(&self, rows: &[f32], sums: &mut [f32]) {
        let (width, outputs) = (self.features.len().max(1), self.outputs().max(1));
        let mut keys = vec![0; BLOCK.min(rows.len() / width) * 2 * width];
        let blocks = rows.chunks(BLOCK * width);
        for (rows, sums) in blocks.zip(sums.chunks_mut(BLOCK * outputs)) {
            self.keys(rows, &mut keys);
            let count = rows.len() / width;
            let (rows, rest) = keys.split_at(count / LANES * LANES * 2 * width);
            let (sums, sums_of_rest) = sums.split_at_mut(count / LANES * LANES * outputs);
            for tree in &self.trees {
                let eights = rows.chunks_exact(LANES * 2 * width);
                for (rows, sums) in eights.zip(sums.chunks_exact_mut(LANES * outputs)) {
                    self.rows_down(tree, rows, sums);
                }
            }
            let rows = rest.chunks_exact(2 * width);
            for (row, sums) in rows.zip(sums_of_rest.chunks_exact_mut(outputs)) {
                self.row_down(row, sums);
            }
        }
    }

    /// The keys of rows: of each value two, which differ where it is missing: the first goes right, the second left.
    fn keys(&self, rows: &[f32], keys: &mut [i32]) {
        let kinds = self.features.iter().cycle();
        for ((value, kind), keys) in rows.iter().zip(kinds).zip(keys.chunks_exact_mut(2)) {
            let pair = match kind {
                _ if value.is_nan() => [MISSING_RIGHT, MISSING_LEFT],
                Some(Kind::Category) if (0.0..CATEGORIES as f32).contains(value) => {
                    [*value as i32; 2]
                }
                Some(Kind::Category) => [NO_CATEGORY; 2],
                _ => [key(*value); 2],
            };
            keys.copy_from_slice(&pair);
        }
    }

    /// Eight rows down one tree.
    #[inline]
    fn rows_down(&self, tree: &Tree, rows: &[i32], sums: &mut [f32]) {
        let (width, outputs) = (2 * self.features.len(), self.outputs());
        let starts = std::array::from_fn(|lane| lane * width);
        let leaves = self.down(tree.splits, tree.depth, rows, starts, [tree.root; LANES]);
        for (sums, leaf) in sums.chunks_exact_mut(outputs).zip(leaves) {
            sums[tree.output as usize] += self.leaves[leaf as usize];
        }
    }

    /// One row down all trees, eight at a time.
    fn row_down(&self, row: &[i32], sums: &mut [f32]) {
        for trees in self.trees.chunks(LANES) {
            let mut roots = [0; LANES];
            for (root, tree) in roots.iter_mut().zip(trees) {
                *root = tree.root;
            }
            let splits = trees.iter().map(|tree| tree.splits).max();
            let splits = splits.unwrap_or(Splits::Numbers);
            let depth = trees.iter().map(|tree| tree.depth).max().unwrap_or(0);
            let leaves = self.down(splits, depth, row, [0; LANES], roots);
            for (tree, leaf) in trees.iter().zip(leaves) {
                sums[tree.output as usize] += self.leaves[leaf as usize];
            }
        }
    }

    /// The leaf below each node of `at`, at most `depth` steps, by the keys that start in `rows` there.
    #[inline]
    fn down(
        &self,
        splits: Splits,
        depth: u32,
        rows: &[i32],
        starts: [usize; LANES],
        at: [u32; LANES],
    ) -> [u32; LANES] {
        // A key of what is no category is beyond the sets; so is each of a number, where the sets are empty.
        match splits {
            Splits::Numbers => self.steps(depth, rows, starts, at, |_, _| false),
            Splits::Narrow => self.steps(depth, rows, starts, at, |node, key| {
                self.narrow[node] >> (key as u32).min(NARROW as u32) & 1 == 1
            }),
            Splits::Wide => self.steps(depth, rows, starts, at, |node, key| {
                let set = self.wide[node];
                let word = set.first + (key as u32 / 64).min(set.words);
                self.words[word as usize] >> (key as u32 % 64) & 1 == 1
            }),
        }
    }

    #[inline]
    fn steps(
        &self,
        depth: u32,
        rows: &[i32],
        starts: [usize; LANES],
        mut at: [u32; LANES],
        in_set: impl Fn(usize, i32) -> bool,
    ) -> [u32; LANES] {
        let nodes = &self.nodes[..];
        for _ in 0..depth {
            let before = at;
            for lane in 0..LANES {
                let node = nodes[at[lane] as usize];
                let key = rows[starts[lane] + node.key as usize];
                let right = (key >= node.threshold) | in_set(at[lane] as usize, key);
                at[lane] = node.left + u32::from(right);
            }
            if depth > EVEN_DEPTH && at == before {
                break;
            }
        }
        at
    }
}

/// A number so that larger ones have larger keys; both zeros have the same. Not for NaN.
fn key(number: f32) -> i32 {
    let bits = (number + 0.0).to_bits() as i32;
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

/// A number of a node or word.
fn number(number: usize) -> Result<u32, String> {
    u32::try_from(number).map_err(|_| "it has too many nodes".to_owned())
}
