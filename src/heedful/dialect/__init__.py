"""What others' wire formats are to us: pure translation, without I/O, clock or settings.

Everything works on plain dicts as the parser gave them. What comes in is checked once, field by field, and
refused with the field's name; what goes out is what the other side's own client reads strictly.
"""
