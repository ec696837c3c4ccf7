package server

import (
	"errors"
	"fmt"
	"strings"

	"slipway.dev/slipway/bootstrap/settings"
	"slipway.dev/slipway/internal/fault"
)

// checkSettings finds what the components of a version, or minor, cannot be given. It is done again when the bundle has said which.
func (o InitOptions) checkSettings(version string) error {
	if version != "" {
		version = "v" + strings.TrimPrefix(version, "v")
	}
	var errs []error
	for _, p := range o.Settings.Check(version) {
		errs = append(errs, fault.New("config-invalid", "use "+o.Origin.Field(p.Path...), p.Err,
			"`slipway config schema InitConfiguration` and docs/config.md say what each field takes"))
	}
	return errors.Join(errs...)
}

func (d *differences) settings(is, wanted settings.Settings) {
	d.compare("feature gates", fmt.Sprint(is.FeatureGates), fmt.Sprint(wanted.FeatureGates))
	d.compare("arguments of the API server", fmt.Sprint(is.APIServer), fmt.Sprint(wanted.APIServer))
	d.compare("arguments of the controller manager", fmt.Sprint(is.ControllerManager), fmt.Sprint(wanted.ControllerManager))
	d.compare("arguments of the scheduler", fmt.Sprint(is.Scheduler), fmt.Sprint(wanted.Scheduler))
	d.compare("kubelet settings", is.KubeletText(), wanted.KubeletText())
}
