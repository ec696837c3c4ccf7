package registry

import "time"

// SetIdle makes a test of silent connections short.
func (r *Remote) SetIdle(d time.Duration) { r.idle = d }
