use proptest::prelude::*;

use super::features::Text;
use super::*;

fn told(sql: &str) -> Vec<String> {
    let mut names = Vec::new();
    features(&Text::read(sql), Mode::Lexed, 3, &mut |name, value| {
        names.push(value.map_or_else(|| name.to_owned(), |value| format!("{name}={value}")));
    });
    names
}

#[track_caller]
fn tells(sql: &str, expected: &[&str]) {
    let names = told(sql);
    for name in expected {
        assert!(names.iter().any(|told| told == name), "{name} is not among {names:#?}");
    }
}

#[test]
fn statements_that_differ_in_literals_have_one_fingerprint() {
    let same = [
        "SELECT * FROM t WHERE a = 1 AND b IN (1, 2, 3) -- c",
        "select *\n from t where a=-22.5 and b in ('x')",
        "SELECT /* hint */ * FROM T WHERE A = $1 AND B IN ($2, $3);",
        "select * from \"t\" where a = null and b in (NULL, 7)",
    ];
    for text in same {
        assert_eq!(Text::read(text).fingerprint, Text::read(same[0]).fingerprint, "{text}");
    }
    let other = [
        "SELECT * FROM t WHERE a = 1",
        "SELECT * FROM u WHERE a = 1 AND b IN (1)",
        "SELECT * FROM t WHERE a IS NULL AND b IN (1)",
    ];
    for text in other {
        assert_ne!(Text::read(text).fingerprint, Text::read(same[0]).fingerprint, "{text}");
    }
    let rows = |text: &str| Text::read(text).fingerprint;
    assert_eq!(rows("insert into t values (1, 'a'), (2, 'b'), (3, 'c')"), rows("insert into t values (9, 'z')"));
    assert_ne!(rows("select a - 1 from t"), rows("select a from t"));
    for signed in ["set x to {}", "select a from t where b is distinct from {}", "select substring(a from {} for {})"] {
        let with = |literal: &str| rows(&signed.replace("{}", literal));
        assert_eq!(with("5"), with("-5"), "{signed}");
    }
}

#[test]
fn predicates_tell_columns_operators_and_literals() {
    tells(
        "SELECT count(*) FROM title AS t, cast_info ci WHERE t.id = ci.movie_id AND t.production_year <= 1990 AND ci.note ILIKE '%voice%'",
        &[
            "table:title",
            "cast_info.movie_id = title.id",
            "title.production_year|<=",
            "#title.production_year|<==1990",
            "cast_info.note|ilike|%x%",
            "@tables=2",
        ],
    );
    tells(
        "select * from orders where created >= date '2023-01-01' and created < date '2023-01-11' and 5 < qty limit 20",
        &["#orders.created|width=10", "#orders.qty|>=5", "#limit=20"],
    );
    tells("select 1 from t where x not in (1,2,3) and y between 10 and 30", &["#t.x|not in|length=3", "#t.y|width=20"]);
    tells("select generate_series(1, 5000)", &["#generate_series(1)=5000"]);
    tells(
        "select a from t where lower(name) = 'bob' and extract(year from d) = 2020",
        &["lower(t.name)|=|'bob'", "extract(t.year)|="],
    );
}

#[test]
fn what_can_t_be_lexed_is_read_as_words() {
    let text = Text::read("select a from t where b = 'cut of");
    assert!(text.lexed.fell_back);
    assert!(text.normalised.starts_with("select a from t where b ="), "{}", text.normalised);
    assert!(!Text::read("select 1").lexed.fell_back);
}

#[test]
fn a_long_statement_is_read() {
    let long =
        format!("select * from t where a in ({}) and \u{e4}\u{f6} = '\u{1f418}'", "123456,".repeat(150_000) + "1");
    let text = Text::read(&long);
    assert_eq!(text.fingerprint, Text::read("select * from t where a in (1) and \u{e4}\u{f6} = 'x'").fingerprint);
}

/// Statements with holes for literals.
fn template() -> impl Strategy<Value = Vec<String>> {
    let part = prop_oneof![
        Just("select a, count(*) from t where id =".to_owned()),
        Just("join u on t.id = u.id and u.x <>".to_owned()),
        Just("where x in (1, 2) and x =".to_owned()),
        Just("and y >".to_owned()),
        Just("or name like".to_owned()),
        Just("group by a having count(*) >".to_owned()),
        Just("limit".to_owned()),
    ];
    prop::collection::vec(part, 1..8)
}

fn fill(parts: &[String], literals: &[String], space: &str) -> String {
    let filled: Vec<String> =
        parts.iter().zip(literals.iter().cycle()).map(|(part, literal)| format!("{part}{space}{literal}")).collect();
    filled.join(space)
}

fn literals() -> impl Strategy<Value = Vec<String>> {
    let literal = prop_oneof![
        any::<u32>().prop_map(|number| number.to_string()),
        any::<i16>().prop_map(|number| number.to_string()),
        (0.0..1e9_f64).prop_map(|number| format!("{number:.3}")),
        "[a-z \u{e4}%_;()-]{0,12}".prop_map(|text| format!("'{text}'")),
        (1..99_u8).prop_map(|number| format!("${number}")),
    ];
    prop::collection::vec(literal, 1..8)
}

#[test]
fn a_number_beyond_all_bounds_is_no_value() {
    for sql in ["select a from t where b < 1e999", "it's broken < 01111e1111111"] {
        for mode in [Mode::Lexed, Mode::Paper] {
            features(&Text::read(sql), mode, 3, &mut |name, value| {
                assert!(value.is_none_or(f64::is_finite), "{name} of {sql:?}");
            });
        }
    }
    let fingerprint = |sql: &str| Text::read(sql).fingerprint;
    assert_eq!(fingerprint("select a from t where b < 1e999"), fingerprint("select a from t where b < 5"));
}

#[test]
fn values_stay_within_what_trees_keep() {
    let sql = "select f(1e300) from t where b between -1.7e308 and 1.7e308 and c > now() - interval '1e308 years -1e308 years' \
               limit 1e100";
    let mut largest = 0.0_f64;
    features(&Text::read(sql), Mode::Lexed, 3, &mut |name, value| {
        let value = value.unwrap_or_default();
        assert!(value.abs() <= features::LARGEST, "{name} is {value}");
        largest = largest.max(value);
    });
    assert_eq!(largest, features::LARGEST);
}

/// Runs on a small stack, and for not much longer than something linear takes.
fn cheaply<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().stack_size(512 << 10);
    thread.spawn(move || done.send(work())).unwrap();
    result.recv_timeout(std::time::Duration::from_secs(120)).expect("a long text takes far too long")
}

#[test]
fn a_megabyte_of_anything_takes_a_small_stack_and_linear_time() {
    let many = |count: usize, part: fn(usize) -> String| (0..count).map(part).collect::<String>();
    for text in [
        format!("select {}1{}", "cast(".repeat(100_000), " as int)".repeat(100_000)),
        format!("select 1 from t where x{} = '1'{}", "::a".repeat(200_000), "::a".repeat(200_000)),
        format!("select {}1{} from t", "(".repeat(400_000), ")".repeat(400_000)),
        format!("select 1 from a{}", many(120_000, |at| format!(", t{at}"))),
        format!("select 1 from a{}", ".a".repeat(400_000)),
        format!("select 1 from {} t where a = 1{}", "a".repeat(500_000), " and t.a = 1".repeat(40_000)),
        format!("select 1 from t where a > 1{}", many(60_000, |at| format!(" and c{at} > 1"))),
        format!("select now(){}", " - interval '1 day'".repeat(50_000)),
        "select 1 where ".to_owned() + &"x in (x between ".repeat(50_000),
    ] {
        let told = cheaply(move || {
            let mut told = 0;
            features(&Text::read(&text), Mode::Lexed, 3, &mut |_, _| told += 1);
            told
        });
        assert!(told > 0);
    }
    let found = cheaply(|| {
        let text = "select 'é;'\n;".repeat(80_000);
        let found: Vec<usize> = statements(&text).into_iter().map(|(line, _)| line).collect();
        found
    });
    assert!(found.into_iter().eq(1..=80_000), "a statement begins in another line");
}

proptest! {
    #[test]
    fn literals_case_and_space_never_change_a_fingerprint(parts in template(), a in literals(), b in literals()) {
        let one = fill(&parts, &a, " ");
        let other = fill(&parts.iter().map(|part| part.to_uppercase()).collect::<Vec<_>>(), &b, "\n\t /* c */ ");
        prop_assert_eq!(Text::read(&one).normalised, Text::read(&other).normalised);
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for text in [text.as_str(), &String::from_utf8_lossy(&bytes)] {
            let read = Text::read(text);
            features(&read, Mode::Lexed, 3, &mut |_, value| assert!(value.is_none_or(f64::is_finite)));
            features(&read, Mode::Paper, 1, &mut |_, _| {});
        }
    }
}
