//! node_exporter, from 1.3 on.

use super::{Join, Shipped, config, counter, gauge, ratio};

pub(super) const FEATURES: &[Shipped] = &[
    counter("node_cpu_user", &[r#"node_cpu_seconds_total{mode=~"user|nice",SELECTOR}"#]),
    counter("node_cpu_system", &[r#"node_cpu_seconds_total{mode=~"system|irq|softirq",SELECTOR}"#]),
    counter("node_cpu_iowait", &[r#"node_cpu_seconds_total{mode="iowait",SELECTOR}"#]),
    counter("node_cpu_steal", &[r#"node_cpu_seconds_total{mode="steal",SELECTOR}"#]),
    counter("node_context_switches", &["node_context_switches_total{SELECTOR}"]),
    counter("node_interrupts", &["node_intr_total{SELECTOR}"]),
    counter("node_forks", &["node_forks_total{SELECTOR}"]),
    gauge("node_load1", Join::Max, &["node_load1{SELECTOR}"]),
    gauge("node_procs_running", Join::Sum, &["node_procs_running{SELECTOR}"]),
    gauge("node_procs_blocked", Join::Sum, &["node_procs_blocked{SELECTOR}"]),
    ratio(
        "node_memory_available",
        &["min(node_memory_MemAvailable_bytes{SELECTOR} / node_memory_MemTotal_bytes{SELECTOR})"],
    ),
    gauge("node_memory_cached", Join::Sum, &["node_memory_Cached_bytes{SELECTOR}"]),
    gauge("node_memory_dirty", Join::Sum, &["node_memory_Dirty_bytes{SELECTOR}"]),
    gauge("node_memory_writeback", Join::Sum, &["node_memory_Writeback_bytes{SELECTOR}"]),
    gauge("node_memory_shmem", Join::Sum, &["node_memory_Shmem_bytes{SELECTOR}"]),
    counter("node_page_in", &["node_vmstat_pgpgin{SELECTOR}"]),
    counter("node_page_out", &["node_vmstat_pgpgout{SELECTOR}"]),
    counter("node_swap_in", &["node_vmstat_pswpin{SELECTOR}"]),
    counter("node_swap_out", &["node_vmstat_pswpout{SELECTOR}"]),
    counter("node_major_faults", &["node_vmstat_pgmajfault{SELECTOR}"]),
    counter("node_oom_kills", &["node_vmstat_oom_kill{SELECTOR}"]),
    counter("node_disk_read_bytes", &[r#"node_disk_read_bytes_total{device!~"(loop|ram|fd|sr|zram).*",SELECTOR}"#]),
    counter(
        "node_disk_written_bytes",
        &[r#"node_disk_written_bytes_total{device!~"(loop|ram|fd|sr|zram).*",SELECTOR}"#],
    ),
    counter("node_disk_reads", &[r#"node_disk_reads_completed_total{device!~"(loop|ram|fd|sr|zram).*",SELECTOR}"#]),
    counter("node_disk_writes", &[r#"node_disk_writes_completed_total{device!~"(loop|ram|fd|sr|zram).*",SELECTOR}"#]),
    counter("node_disk_io_time", &[r#"node_disk_io_time_seconds_total{device!~"(loop|ram|fd|sr|zram).*",SELECTOR}"#]),
    counter(
        "node_disk_io_time_weighted",
        &[r#"node_disk_io_time_weighted_seconds_total{device!~"(loop|ram|fd|sr|zram).*",SELECTOR}"#],
    ),
    counter("node_network_receive", &[r#"node_network_receive_bytes_total{device!~"lo|(veth|cali|lxc).*",SELECTOR}"#]),
    counter(
        "node_network_transmit",
        &[r#"node_network_transmit_bytes_total{device!~"lo|(veth|cali|lxc).*",SELECTOR}"#],
    ),
    counter("node_tcp_retransmits", &["node_netstat_Tcp_RetransSegs{SELECTOR}"]),
    gauge("node_tcp_established", Join::Sum, &["node_netstat_Tcp_CurrEstab{SELECTOR}"]),
    counter("node_pressure_cpu", &["node_pressure_cpu_waiting_seconds_total{SELECTOR}"]),
    counter("node_pressure_io", &["node_pressure_io_waiting_seconds_total{SELECTOR}"]),
    counter("node_pressure_memory", &["node_pressure_memory_waiting_seconds_total{SELECTOR}"]),
    ratio(
        "node_filesystem_available",
        &[
            r#"min(node_filesystem_avail_bytes{fstype!~"tmpfs|overlay|squashfs|ramfs",SELECTOR} / (node_filesystem_size_bytes{fstype!~"tmpfs|overlay|squashfs|ramfs",SELECTOR} > 0))"#,
        ],
    ),
    config("node_boot_time", Join::Max, &["node_boot_time_seconds{SELECTOR}"]),
    config("node_cpus", Join::Count, &[r#"node_cpu_seconds_total{mode="idle",SELECTOR}"#]),
];
