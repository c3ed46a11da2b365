//! Memory and CPU of the server's container, read through the server itself (`pg_read_file` on its cgroup files).

use tokio_postgres::Client;

use super::query_error;
use crate::postgres::error::QueryError;
use crate::postgres::server::ContainerUse;

/// The layout of the container's cgroup files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cgroup {
    /// The unified hierarchy.
    V2,
    /// One hierarchy for each controller.
    V1,
}

/// Finds the cgroup files. `None` where the role may not read them (asked without an attempt, so that the server logs no
/// error) or where there are none, as outside of a container.
pub async fn find(client: &Client) -> Result<Option<Cgroup>, QueryError> {
    let doing = "looking for the container's cgroup";
    let may = client
        .query_one(
            "SELECT pg_has_role('pg_read_server_files', 'USAGE') AND \
             has_function_privilege('pg_catalog.pg_read_file(text,bigint,bigint,boolean)', 'EXECUTE')",
            &[],
        )
        .await
        .map_err(|error| query_error(doing, &error))?;
    if !may.get::<_, bool>(0) {
        return Ok(None);
    }
    for cgroup in [Cgroup::V2, Cgroup::V1] {
        let files = read_files(client, cgroup).await.map_err(|error| query_error(doing, &error))?;
        if parse(cgroup, &files).is_some() {
            return Ok(Some(cgroup));
        }
    }
    Ok(None)
}

/// Reads what the container uses. `None` where its files have vanished or can't be understood.
pub async fn read(client: &Client, cgroup: Cgroup) -> Result<Option<ContainerUse>, QueryError> {
    let files =
        read_files(client, cgroup).await.map_err(|error| query_error("reading the container's cgroup", &error))?;
    Ok(parse(cgroup, &files))
}

/// Texts of a cgroup's files in the order of [`Cgroup::paths`]; those that don't exist are `None`.
type Files = [Option<String>; 5];

async fn read_files(client: &Client, cgroup: Cgroup) -> Result<Files, tokio_postgres::Error> {
    let column = |path: &str| format!("pg_catalog.pg_read_file('/sys/fs/cgroup/{path}', 0, 65536, true)");
    let query = format!("SELECT {}", cgroup.paths().map(column).join(", "));
    let row = client.query_one(&query, &[]).await?;
    Ok(std::array::from_fn(|column| row.get(column)))
}

impl Cgroup {
    /// Memory in use, memory limit, memory statistics, CPU time used, CPU limit.
    fn paths(self) -> [&'static str; 5] {
        match self {
            Self::V2 => ["memory.current", "memory.max", "memory.stat", "cpu.stat", "cpu.max"],
            Self::V1 => [
                "memory/memory.usage_in_bytes",
                "memory/memory.limit_in_bytes",
                "memory/memory.stat",
                "cpuacct/cpuacct.usage",
                "cpu/cpu.cfs_quota_us",
            ],
        }
    }
}

/// What kernels show as the limit of a v1 cgroup that has none is the largest multiple of the page size in 63 bits;
/// no machine has an exabyte.
const NO_LIMIT: i64 = 1 << 60;

/// The default CFS period, which container runtimes leave alone, in microseconds.
const V1_PERIOD_US: i64 = 100_000;

fn parse(cgroup: Cgroup, [current, limit, statistics, cpu, quota]: &Files) -> Option<ContainerUse> {
    let number = |text: &Option<String>| text.as_ref()?.trim().parse::<i64>().ok();
    let field = |text: &Option<String>, key: &str| -> Option<i64> {
        let value = text.as_ref()?.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
        value.trim().parse().ok()
    };
    let current = number(current)?;
    let (cached, cpu_seconds, cpu_limit_millis) = match cgroup {
        Cgroup::V2 => {
            let (quota, period) = quota.as_ref().and_then(|text| text.trim().split_once(' ')).unwrap_or(("max", ""));
            let millis = quota.parse::<i64>().ok().zip(period.parse::<i64>().ok());
            (
                ["inactive_file", "active_file"],
                field(cpu, "usage_usec")? as f64 / 1e6,
                millis.filter(|(_, period)| *period > 0).map(|(quota, period)| quota.saturating_mul(1000) / period),
            )
        }
        Cgroup::V1 => (
            ["total_inactive_file", "total_active_file"],
            number(cpu)? as f64 / 1e9,
            number(quota).filter(|quota| *quota > 0).map(|quota| quota.saturating_mul(1000) / V1_PERIOD_US),
        ),
    };
    Some(ContainerUse {
        // Files are cached for as long as there is room: a warm database fills its limit with them, and none of it is short.
        memory_bytes: (current - cached.iter().filter_map(|key| field(statistics, key)).sum::<i64>()).max(0),
        memory_limit_bytes: number(limit).filter(|limit| *limit < NO_LIMIT),
        cpu_seconds,
        cpu_limit_millis,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(texts: [&str; 5]) -> Files {
        texts.map(|text| Some(text.to_owned()))
    }

    #[test]
    fn the_unified_hierarchy_is_read() {
        let texts = [
            "1000\n",
            "max\n",
            "anon 5\ninactive_file 200\nactive_file 100\n",
            "usage_usec 2500000\nuser_usec 1\n",
            "150000 100000\n",
        ];
        let expected = ContainerUse {
            memory_bytes: 700,
            memory_limit_bytes: None,
            cpu_seconds: 2.5,
            cpu_limit_millis: Some(1500),
        };
        assert_eq!(parse(Cgroup::V2, &files(texts)), Some(expected));
        let unlimited = parse(Cgroup::V2, &files(["1", "4096", "", "usage_usec 0", "max 100000"])).unwrap();
        assert_eq!((unlimited.memory_limit_bytes, unlimited.cpu_limit_millis), (Some(4096), None));
    }

    #[test]
    fn the_old_hierarchies_are_read() {
        let statistics = "inactive_file 1\ntotal_inactive_file 200\ntotal_active_file 100\n";
        let texts = ["1000", "9223372036854771712", statistics, "2500000000", "-1"];
        let expected =
            ContainerUse { memory_bytes: 700, memory_limit_bytes: None, cpu_seconds: 2.5, cpu_limit_millis: None };
        assert_eq!(parse(Cgroup::V1, &files(texts)), Some(expected));
    }

    #[test]
    fn without_files_there_is_no_container() {
        assert_eq!(parse(Cgroup::V2, &Files::default()), None);
    }
}
