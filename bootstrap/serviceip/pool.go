package serviceip

import (
	"fmt"
	"net/netip"
)

// pool knows which Service has which address. The keys are namespace/name.
type pool struct {
	addresses netip.Prefix
	holder    map[netip.Addr]string
	held      map[string]netip.Addr
}

func newPool(addresses netip.Prefix) *pool {
	return &pool{addresses: addresses.Masked(), holder: map[netip.Addr]string{}, held: map[string]netip.Addr{}}
}

// take gives a Service the address that it wants, or, if it wants none in particular, the one that it has or else the first
// that nobody has. When it cannot have what it wants, it keeps what it has.
func (p *pool) take(key string, wants netip.Addr) (netip.Addr, error) {
	if have, ok := p.held[key]; ok && (!wants.IsValid() || wants == have) {
		return have, nil
	}
	if !wants.IsValid() {
		return p.first(key)
	}
	if !p.addresses.Contains(wants) {
		return wants, fmt.Errorf("%s is not one of %s", wants, p.addresses)
	}
	if by, taken := p.holder[wants]; taken {
		return wants, fmt.Errorf("%s is that of Service %s", wants, by)
	}
	return p.give(key, wants), nil
}

func (p *pool) first(key string) (netip.Addr, error) {
	for a := p.addresses.Addr(); p.addresses.Contains(a); a = a.Next() {
		if _, taken := p.holder[a]; !taken {
			return p.give(key, a), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("all %d addresses of %s are in use", len(p.holder), p.addresses)
}

func (p *pool) give(key string, a netip.Addr) netip.Addr {
	p.release(key)
	p.held[key], p.holder[a] = a, key
	return a
}

// release says whether the Service had an address.
func (p *pool) release(key string) bool {
	a, had := p.held[key]
	delete(p.held, key)
	delete(p.holder, a)
	return had
}
