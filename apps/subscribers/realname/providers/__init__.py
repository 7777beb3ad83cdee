"""Who is asked about a person: the identity authority and the face match, behind small interfaces."""
