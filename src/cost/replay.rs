//! A log made up to measure with: a warehouse's dashboards, reports and notebooks, most of whose statements run again and
//! again. What a statement costs follows from its tables, its literals and chance.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::log::{Cost, Log, LogError, Reading, Statement};

/// When the log begins, milliseconds since 1970, and how far its statements are apart.
const BEGIN_MS: i64 = 1_767_225_600_000;
const APART_MS: i64 = 7_776;
/// Tables with their rows, and the days that they reach back.
const TABLES: [(&str, f64); 12] = [
    ("tweets", 4e11),
    ("impressions", 2e12),
    ("ad_clicks", 6e9),
    ("follows", 3e10),
    ("users", 4e8),
    ("sessions", 5e10),
    ("payments", 9e7),
    ("campaigns", 2e6),
    ("countries", 250.0),
    ("devices", 8e4),
    ("experiments", 3e5),
    ("searches", 8e10),
];
const COLUMNS: [&str; 8] = ["user_id", "country", "device", "campaign_id", "lang", "state", "bucket", "source"];
const DAYS: f64 = 90.0;

/// The log: as many rows are asked for, of which a share repeats a statement that was there before, word for word.
#[derive(Clone, Debug)]
pub struct Replay {
    rows: u64,
    repeats: f64,
    seed: u64,
    targets: Vec<String>,
}

impl Replay {
    /// A log with costs for `cpu` (seconds) and `memory` (bytes). `repeats` from 0 to 1.
    pub fn new(rows: u64, repeats: f64, seed: u64) -> Self {
        Self { rows, repeats, seed, targets: vec!["cpu".into(), "memory".into()] }
    }
}

/// A report with places for literals.
struct Template {
    fact: usize,
    dimensions: Vec<usize>,
    filters: Vec<Filter>,
    groups: Vec<&'static str>,
    distinct: bool,
    sorted: bool,
}

/// A condition whose literals are drawn anew in each new statement.
enum Filter {
    /// One value of so many.
    Equal(&'static str, f64),
    /// Some values of so many.
    In(&'static str, f64),
    Like(&'static str),
}

/// What a statement costs but for chance.
#[derive(Clone)]
struct Priced {
    query: String,
    seconds: f64,
    bytes: f64,
}

impl Template {
    fn draw(random: &mut impl Rng) -> Self {
        let fact = random.random_range(0..TABLES.len());
        let dimensions = (0..random.random_range(0..3)).map(|_| random.random_range(4..TABLES.len())).collect();
        let column = |random: &mut _| *COLUMNS.choose(random).unwrap_or(&COLUMNS[0]);
        let filters = (0..random.random_range(0..4)).map(|_| {
            let name = column(random);
            match random.random_range(0..5) {
                0 | 1 => Filter::Equal(name, 10_f64.powf(random.random_range(0.5..4.0))),
                2 | 3 => Filter::In(name, 10_f64.powf(random.random_range(1.0..3.0))),
                _ => Filter::Like(name),
            }
        });
        let filters = filters.collect();
        let groups = (0..random.random_range(0..3)).map(|_| column(random)).collect();
        Self { fact, dimensions, filters, groups, distinct: random.random_bool(0.3), sorted: random.random_bool(0.3) }
    }

    /// A statement with literals of its own.
    fn statement(&self, random: &mut impl Rng) -> Priced {
        let (table, mut scanned) = TABLES[self.fact];
        let measure = if self.distinct { "count(DISTINCT f.user_id)" } else { "count(*)" };
        let mut select: Vec<String> = self.groups.iter().map(|group| format!("f.{group}")).collect();
        select.push(measure.to_owned());
        let days = *[1, 1, 1, 7, 7, 30, 90].choose(random).unwrap_or(&1);
        scanned *= f64::from(days) / DAYS;
        let begin = random.random_range(1..=28);
        let mut query = format!("SELECT {} FROM {table} f", select.join(", "));
        for (at, dimension) in self.dimensions.iter().enumerate() {
            query += &format!(" JOIN {name} d{at} ON d{at}.id = f.{name}_id", name = TABLES[*dimension].0);
        }
        query += &format!(
            " WHERE f.ds >= DATE '2026-01-{begin:02}' AND f.ds < DATE '2026-01-{begin:02}' + INTERVAL '{days}' DAY"
        );
        let mut kept = scanned;
        for filter in &self.filters {
            match filter {
                Filter::Equal(column, values) => {
                    query += &format!(" AND f.{column} = {}", random.random_range(1..=(*values as u64).max(2)));
                    kept /= values;
                }
                Filter::In(column, values) => {
                    let count = random.random_range(1..=12_u32);
                    let list: Vec<String> = (0..count).map(|_| random.random_range(1..9999).to_string()).collect();
                    query += &format!(" AND f.{column} IN ({})", list.join(", "));
                    kept *= (f64::from(count) / values).min(1.0);
                }
                Filter::Like(column) => {
                    let word: String = (0..random.random_range(2..6)).map(|_| random.random_range('a'..='z')).collect();
                    query += &format!(" AND f.{column} LIKE '%{word}%'");
                    scanned *= 3.0;
                    kept *= 0.02;
                }
            }
        }
        if !self.groups.is_empty() {
            let list: Vec<String> = self.groups.iter().map(|group| format!("f.{group}")).collect();
            query += &format!(" GROUP BY {}", list.join(", "));
        }
        if self.sorted {
            query += &format!(" ORDER BY {} DESC LIMIT {}", select.len(), random.random_range(1..1000));
        }
        let joined: f64 = self.dimensions.iter().map(|at| TABLES[*at].1).sum();
        let seconds = 0.05 + scanned * 4e-9 + (kept + joined) * 2e-7 * (1.0 + self.dimensions.len() as f64);
        let bytes = 2e4 + kept * if self.distinct { 16.0 } else { 0.02 } + joined * 24.0;
        Priced { query, seconds, bytes }
    }
}

impl Log for Replay {
    fn targets(&self) -> &[String] {
        &self.targets
    }

    fn read(&self, each: &mut dyn FnMut(Statement)) -> Result<Reading, LogError> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut templates: Vec<Template> = (0..150).map(|_| Template::draw(&mut random)).collect();
        let mut known: Vec<Priced> = Vec::new();
        for row in 0..self.rows {
            let new = known.is_empty() || !random.random_bool(self.repeats);
            if new {
                // One new statement of twenty is of a report that nobody has asked for before.
                if random.random_bool(0.05) {
                    templates.push(Template::draw(&mut random));
                }
                let template = templates.choose(&mut random).expect("there are always some");
                known.push(template.statement(&mut random));
            }
            // Few statements run very often: the place is skewed towards the first ones.
            let place = (random.random::<f64>().powi(3) * known.len() as f64) as usize;
            let priced = &known[if new { known.len() - 1 } else { place.min(known.len() - 1) }];
            let mut noisy = |cost: f64, spread: f64| {
                let normal: f64 = (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
                Cost::Measured(cost * (normal * spread).exp())
            };
            let costs = vec![noisy(priced.seconds, 0.12), noisy(priced.bytes, 0.08)];
            let time_ms = Some(BEGIN_MS + row as i64 * APART_MS);
            each(Statement { query: priced.query.clone(), time_ms, costs, weight: 1.0, truncated: false, plan: None });
        }
        Ok(Reading { statements: self.rows, ..Reading::default() })
    }
}
