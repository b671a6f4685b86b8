"""No pages: the tests of the commands need none."""

urlpatterns: list[object] = []
