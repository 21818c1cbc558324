/** Our own kinds of buttons: styles/base.css has what they look like. */
import "bootstrap-vue-next";

declare module "bootstrap-vue-next" {
  interface BaseButtonVariant {
    quiet: unknown;
    icon: unknown;
  }
}
