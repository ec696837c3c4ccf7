package preflight

import (
	"context"
	"fmt"

	"github.com/coreos/go-systemd/v22/dbus"
)

func (f Facts) activeUnits(ctx context.Context, names ...string) ([]string, error) {
	if f.ActiveUnits != nil {
		return f.ActiveUnits(ctx, names...)
	}
	return askSystemd(ctx, names...)
}

func askSystemd(ctx context.Context, names ...string) ([]string, error) {
	c, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("reach systemd: %w", err)
	}
	defer c.Close()
	units, err := c.ListUnitsByNamesContext(ctx, names)
	if err != nil {
		return nil, fmt.Errorf("list units: %w", err)
	}
	var out []string
	for _, u := range units {
		if u.ActiveState == "active" {
			out = append(out, u.Name)
		}
	}
	return out, nil
}
