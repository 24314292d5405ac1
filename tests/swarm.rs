//! Docker Swarm, Docker's built-in cluster, on two machines. Its tasks are containers of the default runtime.
//! Every case also runs on two machines with runc, and the output must be the same.

use runtime_tests::machine::{Shell, compare_clusters};

runtime_tests::tests![
    a_replicated_service_spreads_over_the_nodes_and_is_scaled,
    a_rolling_update_replaces_every_task,
    a_drained_nodes_tasks_move_to_the_other,
    a_task_that_dies_is_started_again,
];

const SERVICE: &str = "docker service create -d --name s --replicas 4 --no-resolve-image --limit-memory 32m --update-delay 0s \
    --update-monitor 1s --update-parallelism 2 --restart-delay 0s --stop-grace-period 5s -e A=1 bb \
    sh -c 'trap \"exit 0\" TERM; echo A is $A; while :; do sleep 0.1; done'";

/// Creates a cluster with the service.
fn deploy(first: &Shell, second: &Shell) {
    first
        .see("docker swarm init --advertise-addr 10.9.0.1")
        .ok();
    let token = first.see("docker swarm join-token -q worker");
    second
        .see(&format!(
            "docker swarm join --advertise-addr 10.9.0.2 --token {} 10.9.0.1:2377",
            token.out.trim()
        ))
        .ok();
    first
        .run("docker node ls --format '{{.Hostname}} {{.Status}} {{.Availability}}' | sort")
        .prints("engines Ready Active\nworker Ready Active\n");
    first.see(SERVICE).ok();
    replicas(first, "4/4");
}

fn replicas(first: &Shell, wanted: &str) {
    first.wait("docker service ls --format '{{.Replicas}}'", |o| {
        o.out.trim() == wanted
    });
}

/// Waits until this many tasks run on a node.
fn running(node: &Shell, wanted: usize) {
    node.wait("docker ps -q", |o| o.lines().len() == wanted);
}

fn leave(first: &Shell, second: &Shell) {
    first.see("docker service rm s").ok();
    for node in [first, second] {
        node.wait("docker ps -aq", |o| o.out.is_empty());
    }
    second.run("docker swarm leave").ok();
    first.run("docker swarm leave --force").ok();
}

fn a_replicated_service_spreads_over_the_nodes_and_is_scaled() {
    compare_clusters(|first, second| {
        deploy(first, second);
        for node in [first, second] {
            running(node, 2);
            node.run("for c in $(docker ps -q); do docker inspect -f '{{.HostConfig.Runtime}} {{.State.Status}} {{.HostConfig.Memory}}' $c; done")
                .prints("rt running 33554432\nrt running 33554432\n");
        }
        first.wait("docker service logs --raw s", |o| {
            o.out == "A is 1\n".repeat(4)
        });
        first.run("docker service scale -d s=2").ok();
        running(first, 1);
        running(second, 1);
        first.run("docker service scale -d s=6").ok();
        running(first, 3);
        running(second, 3);
        leave(first, second);
    });
}

fn a_rolling_update_replaces_every_task() {
    compare_clusters(|first, second| {
        deploy(first, second);
        first
            .see("docker service update -d --no-resolve-image --env-add A=2 s")
            .ok();
        first.wait(
            "docker service inspect -f '{{.UpdateStatus.State}}' s",
            |o| o.out == "completed\n",
        );
        replicas(first, "4/4");
        for node in [first, second] {
            node.run("for c in $(docker ps -q); do docker exec $c sh -c 'echo $A'; done")
                .prints("2\n2\n");
        }
        first.run("docker service ps -f desired-state=shutdown --format '{{.CurrentState}} {{.Error}}' s | cut -d' ' -f1 | sort | uniq -c").ok();
        leave(first, second);
    });
}

fn a_drained_nodes_tasks_move_to_the_other() {
    compare_clusters(|first, second| {
        deploy(first, second);
        first
            .run("docker node update --availability drain worker")
            .ok();
        running(second, 0);
        running(first, 4);
        replicas(first, "4/4");
        first.run("docker node update --availability active worker; docker node update --availability drain engines").ok();
        running(first, 0);
        running(second, 4);
        leave(first, second);
    });
}

fn a_task_that_dies_is_started_again() {
    compare_clusters(|first, second| {
        deploy(first, second);
        let before = second.see("docker ps -q --no-trunc | sort");
        second.see("docker kill $(docker ps -q)").ok();
        second.wait("docker ps -q --no-trunc | sort", |o| {
            o.lines().len() == 2 && o.lines().iter().all(|id| !before.out.contains(id))
        });
        replicas(first, "4/4");
        leave(first, second);
    });
}
