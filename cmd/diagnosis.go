package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"slipway.dev/slipway/bootstrap/doctor"
	"slipway.dev/slipway/cmd/localcluster"
	"slipway.dev/slipway/internal/fault"
)

// examineComputer prints what is known of this computer. Where there is a problem, the fault is computer-unsuitable.
func examineComputer(ctx context.Context, o *options, output outputFormat) error {
	d, err := localcluster.ExamineComputer(ctx, o.dirs())
	if err != nil {
		return err
	}
	err = printDiagnosis(o.Stdout, output, "this computer, which is no node of a cluster", d)
	if bad := d.Problems(); len(bad) > 0 {
		err = errors.Join(err, fault.New("computer-unsuitable", "find this computer fit for clusters",
			fmt.Errorf("there are problems with: %s", strings.Join(bad, ", ")), "do what `slipway doctor` says of them, from the top"))
	}
	return err
}

// examineCluster prints what is known of a cluster. Where there is a problem, the fault is cluster-unhealthy.
func examineCluster(ctx context.Context, o *options, output outputFormat, name string) error {
	c, err := localcluster.Open(o.dirs(), name)
	if err != nil {
		return err
	}
	d, err := c.Examine(ctx)
	if err != nil {
		return err
	}
	err = printDiagnosis(o.Stdout, output, fmt.Sprintf("cluster %s: %s", d.Cluster, d.State), d)
	if bad := d.Problems(); len(bad) > 0 {
		err = errors.Join(err, fault.New("cluster-unhealthy", fmt.Sprintf("find cluster %q well", name),
			fmt.Errorf("there are problems with: %s", strings.Join(bad, ", ")), "do what `slipway doctor "+name+"` says of them, from the top"))
	}
	return err
}

func printDiagnosis(w io.Writer, output outputFormat, title string, d *localcluster.Diagnosis) error {
	if output == "json" {
		return json.NewEncoder(w).Encode(d)
	}
	fmt.Fprintln(w, title)
	all := &doctor.Report{Checks: d.Checks}
	for _, c := range d.Checks {
		printCheck(w, c)
	}
	for _, n := range d.Nodes {
		if n.Report == nil {
			n.Report = &doctor.Report{Checks: []doctor.Result{{Name: "doctor", What: "it answers on the node", Level: doctor.Problem,
				Findings: []doctor.Finding{{Level: doctor.Problem, What: "it does not", Why: n.Error}}}}}
		}
		fmt.Fprintf(w, "\non node %s: %s\n", n.Name, count(n.Report))
		for _, c := range n.Report.Checks {
			if c.Level != doctor.OK {
				printCheck(w, c)
			}
		}
		all.Checks = append(all.Checks, n.Report.Checks...)
	}
	_, err := fmt.Fprintf(w, "\n%s\n", count(all))
	return err
}
