package approver

// Kind is what an event is about.
type Kind string

// The kinds of events.
const (
	Approved Kind = "approved" // this approver approved the request
	Denied   Kind = "denied"   // this approver denied the request
	Waiting  Kind = "waiting"  // the request cannot be decided yet
	Trouble  Kind = "trouble"  // the cluster did not do what it was asked; it is tried again
)

// Event is something that an admin may want to know later.
type Event struct {
	Kind    Kind
	Request string // the name of the request; empty where Trouble is with none in particular
	Node    string // the name of the Node that asks; empty if it is no node that asks
	Reason  string
}
