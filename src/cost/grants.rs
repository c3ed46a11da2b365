//! Which files are read with the operator's own rights, and for whom: what the operator's administrator says. Without it,
//! whoever may create a QueryCostModel could read what the operator may.

use std::fmt;
use std::str::FromStr;

/// Grants, written `NAMESPACE=URL,NAMESPACE=URL…`; `*` is every namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(Vec<Grant>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Grant {
    namespace: String,
    root: String,
}

impl FromStr for Grants {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = |text: &str| {
            let shape = || format!("{text:?} is no grant: write NAMESPACE=URL, as in shop=s3://logs/shop");
            let (namespace, url) = text.split_once('=').ok_or_else(shape)?;
            if namespace.is_empty() {
                return Err(shape());
            }
            Ok(Grant { namespace: namespace.to_owned(), root: plain(url)? })
        };
        text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(one).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each: Vec<String> = self.0.iter().map(|grant| format!("{}={}", grant.namespace, grant.root)).collect();
        f.write_str(&each.join(","))
    }
}

impl Grants {
    /// The granted URL that a URL lies under.
    ///
    /// # Errors
    /// A sentence when there is none for the namespace.
    pub fn root(&self, namespace: &str, url: &str) -> Result<&str, String> {
        let url = plain(url)?;
        let holds = |root: &str| url.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let theirs = |grant: &&Grant| [namespace, "*"].contains(&grant.namespace.as_str()) && holds(&grant.root);
        self.0.iter().find(theirs).map(|grant| grant.root.as_str()).ok_or_else(|| {
            format!(
                "{url} is not open to the namespace {namespace}: name a Secret with credentials of your own in \
                 spec.source.files.secretRef (s3:// only), or have the operator's administrator add it to queryLogs.grants \
                 of its chart"
            )
        })
    }
}

/// A URL without what could lead elsewhere than it says.
fn plain(url: &str) -> Result<String, String> {
    let wrong = || format!("{url:?} names no files: write s3://bucket/prefix or file:///directory, without . and ..");
    let trimmed = url.trim_end_matches('/');
    let path = trimmed.strip_prefix("s3://").or_else(|| trimmed.strip_prefix("file:///")).ok_or_else(wrong)?;
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(wrong());
    }
    Ok(trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_reads_what_it_was_granted_and_nothing_beside() {
        let grants: Grants = "shop=s3://logs/shop/, *=file:///logs/all".parse().unwrap();
        assert_eq!(grants.to_string().parse::<Grants>().as_ref(), Ok(&grants));
        for (namespace, url, granted) in [
            ("shop", "s3://logs/shop", true),
            ("shop", "s3://logs/shop/2026/", true),
            ("shop", "s3://logs/shop-2", false),
            ("shop", "s3://logs", false),
            ("bank", "s3://logs/shop", false),
            ("bank", "file:///logs/all/today.csv", true),
            ("bank", "file:///logs/all/../secret", false),
            ("bank", "file:///logs/all//x", false),
            ("bank", "file:///var/run/secrets/kubernetes.io/serviceaccount/token", false),
            ("*", "s3://logs/shop", false),
            ("bank", "logs/all", false),
        ] {
            assert_eq!(grants.root(namespace, url).is_ok(), granted, "{namespace} {url}");
        }
        assert!(Grants::default().root("shop", "s3://logs/shop").unwrap_err().contains("queryLogs.grants"));
    }

    #[test]
    fn a_grant_of_everything_or_of_nothing_is_told() {
        for text in
            ["s3://logs", "=s3://logs", "shop=", "shop=file:///", "shop=s3://", "shop=/logs", "shop=file:///a/../b"]
        {
            assert!(text.parse::<Grants>().is_err(), "{text}");
        }
        assert_eq!("".parse(), Ok(Grants::default()));
    }
}
