from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from . import views
from .framework.views import framework

urlpatterns = [
    path("", views.home),
    path("account/", views.account, name="account"),
    path("account/login/", LoginView.as_view(template_name="account/login.html"), name="login"),
    path("account/logout/", LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
    path("framework/", framework, name="framework"),
]
