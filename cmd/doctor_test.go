package cmd

import (
	"bytes"
	"strings"
	"testing"

	"slipway.dev/slipway/bootstrap/doctor"
	"slipway.dev/slipway/internal/fault"
)

func TestReportOfANode(t *testing.T) {
	r := &doctor.Report{
		Node: doctor.Node{Name: "a", Cluster: "c", ControlPlane: true, KubernetesVersion: "v1.37.1", Endpoint: "https://192.0.2.1:6443"},
		Checks: []doctor.Result{
			{Name: "units", What: "services run", Brief: true, Level: doctor.OK, Findings: []doctor.Finding{{Level: doctor.OK, What: "kubelet runs"}}},
			{Name: "disk", What: "there is room", Level: doctor.OK, Findings: []doctor.Finding{{Level: doctor.OK, What: "much"}}},
			{Name: "etcd", What: "it has a leader", Level: doctor.Problem, Findings: []doctor.Finding{
				{Level: doctor.Problem, What: "no leader", Why: "one\ntwo", Next: "start more"}, {Level: doctor.Warning, What: "nearly full"},
			}},
		},
	}
	const node = "node a: control plane of cluster c, Kubernetes v1.37.1, API https://192.0.2.1:6443\n\n"
	const end = "\nproblems: 1, warnings: 1\n"
	var all, short bytes.Buffer
	if err := printReport(&all, r); err != nil {
		t.Fatal(err)
	}
	const wantAll = node + "ok       units: services run\n  ok       kubelet runs\n\nok       disk: there is room\n  ok       much\n\n" +
		"problem  etcd: it has a leader\n  problem  no leader\n           why:  one\n                 two\n           next: start more\n" +
		"  warning  nearly full\n" + end
	if all.String() != wantAll {
		t.Errorf("got\n%s\nwant\n%s", all.String(), wantAll)
	}
	if err := printSummary(&short, r); err != nil {
		t.Fatal(err)
	}
	const wantShort = node + "ok       units         kubelet runs\nproblem  etcd          no leader\nwarning  etcd          nearly full\n" + end
	if short.String() != wantShort {
		t.Errorf("got\n%s\nwant\n%s", short.String(), wantShort)
	}
	if f := fault.All(unhealthy(r)); len(f) != 1 || f[0].ID != "node-unhealthy" || !strings.Contains(f[0].Error(), "etcd") {
		t.Errorf("got %v", f)
	}
	r.Checks = r.Checks[:2]
	if err := unhealthy(r); err != nil {
		t.Errorf("got %v of a node that is well", err)
	}
}
