package server

import (
	"errors"
	"strings"

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
