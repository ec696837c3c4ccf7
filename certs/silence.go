package certs

import (
	"sync"

	cfssllog "github.com/cloudflare/cfssl/log"
)

// silence turns cfssl's own log off: it writes a line for each certificate to stderr, and what
// matters of it comes back as an error. Once, because cfssl's setter is not safe to race.
var silence = sync.OnceFunc(func() { cfssllog.SetLogger(nowhere{}) }) //nolint:gochecknoglobals // see above

type nowhere struct{}

func (nowhere) Debug(string)   {}
func (nowhere) Info(string)    {}
func (nowhere) Warning(string) {}
func (nowhere) Err(string)     {}
func (nowhere) Crit(string)    {}
func (nowhere) Emerg(string)   {}
