package balancer

// Kind is what an event is about.
type Kind string

// The kinds of events.
const (
	Added     Kind = "added"     // the server is in the list
	Removed   Kind = "removed"   // the server is not in the list anymore
	Up        Kind = "up"        // the server is ready
	Down      Kind = "down"      // the server failed twice in a row; Reason says how
	Following Kind = "following" // the cluster's list of servers is watched
	Trouble   Kind = "trouble"   // something else failed, and is tried again; Reason says what and why
)

// Event is something that an admin may want to know later.
type Event struct {
	Kind   Kind
	Server string // of Added, Removed, Up and Down
	Reason string
}
