package serviceip

// Kind is what an event is about.
type Kind string

// The kinds of events.
const (
	Leads    Kind = "leads"    // this one works now, others wait
	Given    Kind = "given"    // a Service has an address
	Released Kind = "released" // its address can be another's
	Waiting  Kind = "waiting"  // a Service cannot have what it asks for
	Trouble  Kind = "trouble"  // the cluster did not do what it was asked; it is tried again
)

// Event is something that an admin may want to know later.
type Event struct {
	Kind    Kind
	Service string // namespace/name; empty where it is about none in particular
	Reason  string
}

func (e Event) String() string {
	if e.Service == "" {
		return string(e.Kind) + ": " + e.Reason
	}
	return string(e.Kind) + " " + e.Service + ": " + e.Reason
}
