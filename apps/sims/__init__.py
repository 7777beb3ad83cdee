"""SIM cards: batches from the card maker or host carrier, stock, and which card is bound to a line."""
