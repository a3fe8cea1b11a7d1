package main

// large is the first four rows of core with values of 1 KB.
func (r *run) large() error {
	p, err := r.peers()
	if err != nil {
		return err
	}
	_, err = r.single(p, 1024, .1)
	return err
}
