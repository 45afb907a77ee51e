"""Who may do what: roles, what each method asks for, and the gate that compares the two."""
