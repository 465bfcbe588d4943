"""The composition root: picks the parts, hands them to each other, starts and stops them in order.

The only place where rooms meet. Refuses to know rules: it builds, and decides nothing about a request.
"""
