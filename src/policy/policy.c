/* policy.c: the table of built-in policies, policies as texts, and instances. */
#include "policy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define POLICY_ROW(name) &policy_##name,
const policy_class *const policy_classes[] = {POLICY_CLASSES(POLICY_ROW) NULL};
#undef POLICY_ROW

const policy_class *policy_find(const char *name, unsigned serves)
{
    for (size_t i = 0; policy_classes[i]; i++)
        if ((policy_classes[i]->serves & serves) && strcmp(policy_classes[i]->name, name) == 0)
            return policy_classes[i];
    return NULL;
}

/* --- texts ------------------------------------------------------------------------- */

policy_choice policy_default(const policy_class *cls)
{
    policy_choice c = {.cls = cls};
    for (size_t i = 0; cls->params && cls->params[i].name; i++)
        c.param[i] = cls->params[i].value;
    return c;
}

/* Names with commas between, into a text that is cut where it must be. */
static void policy_join(char *list, size_t room, const char *name)
{
    size_t used = strlen(list);
    snprintf(list + used, room - used, "%s%s", used ? ", " : "", name);
}

static vm_status policy_read_value(const policy_class *cls, const policy_param *r,
                                   const char *value, double *out, vm_error *e)
{
    char list[200] = "";
    if (r->kind == POLICY_NAME) {
        for (int i = 0; r->names[i]; i++) {
            policy_join(list, sizeof list, r->names[i]);
            if (strcmp(r->names[i], value) == 0) {
                *out = i;
                return VM_OK;
            }
        }
        return vm_fail(e, VM_INVALID, "%s of policy %s is \"%.40s\", but takes one of: %s", r->name,
                       cls->name, value, list);
    }
    char *end;
    double x = strtod(value, &end);
    bool number = end != value && *end == '\0' && x >= r->min && x <= r->max;
    if (number && (r->kind == POLICY_REAL || x == floor(x))) {
        *out = x;
        return VM_OK;
    }
    return vm_fail(e, VM_INVALID, "%s of policy %s is %.40s, but takes a %s from %.15g to %.15g",
                   r->name, cls->name, value, r->kind == POLICY_REAL ? "number" : "whole number",
                   r->min, r->max);
}

/* "name=value" */
static vm_status policy_read_param(char *text, policy_choice *c, vm_error *e)
{
    char *value = strchr(text, '='), list[200] = "";
    const policy_class *cls = c->cls;
    if (!value)
        return vm_fail(e, VM_INVALID,
                       "policy %s: \"%.60s\" is no parameter: name=value is expected", cls->name,
                       text);
    *value++ = '\0';
    for (size_t i = 0; cls->params && cls->params[i].name; i++) {
        policy_join(list, sizeof list, cls->params[i].name);
        if (strcmp(cls->params[i].name, text) == 0)
            return policy_read_value(cls, &cls->params[i], value, &c->param[i], e);
    }
    return vm_fail(e, VM_INVALID, "policy %s has no parameter %.60s (it has %s)", cls->name, text,
                   *list ? list : "none");
}

vm_status policy_read(const char *text, unsigned serves, policy_choice *out, vm_error *e)
{
    char copy[POLICY_TEXT];
    size_t n = strlen(text);
    if (n >= sizeof copy)
        return vm_fail(e, VM_INVALID, "the policy \"%.40s...\" is too long a text", text);
    memcpy(copy, text, n + 1);
    char *at = strchr(copy, ':');
    if (at)
        *at++ = '\0';
    const policy_class *cls = policy_find(copy, serves);
    if (!cls)
        return vm_fail(e, VM_FORMAT, "there is no policy %.60s", copy);
    policy_choice c = policy_default(cls);
    while (at) {
        char *next = strchr(at, ':');
        if (next)
            *next++ = '\0';
        vm_status s = policy_read_param(at, &c, e);
        if (s != VM_OK)
            return s;
        at = next;
    }
    *out = c;
    return VM_OK;
}

void policy_write(const policy_choice *c, char *text, size_t n)
{
    int used = snprintf(text, n, "%s", c->cls->name);
    for (size_t i = 0; c->cls->params && c->cls->params[i].name; i++) {
        const policy_param *r = &c->cls->params[i];
        char number[40];
        if (c->param[i] == r->value || used < 0 || (size_t)used >= n)
            continue;
        /* The shortest of two that is read back as the same number. */
        snprintf(number, sizeof number, "%.15g", c->param[i]);
        if (strtod(number, NULL) != c->param[i])
            snprintf(number, sizeof number, "%.17g", c->param[i]);
        const char *value = r->kind == POLICY_NAME ? r->names[(int)c->param[i]] : number;
        used += snprintf(text + used, n - (size_t)used, ":%s=%s", r->name, value);
    }
}

/* --- instances --------------------------------------------------------------------- */

vm_status policy_new(const vm_host *host, const policy_choice *what, const policy_config *cfg,
                     policy **out, vm_error *e)
{
    const policy_class *cls = what->cls;
    policy *p = host_zalloc(host, cls->size);
    *out = NULL;
    if (!p)
        return vm_fail_nomem(e, "a replacement policy");
    p->cls = cls;
    p->host = host;
    p->cfg = *cfg;
    p->ud = what->ud;
    p->chosen = POLICY_NONE;
    memcpy(p->param, what->param, sizeof p->param);
    vm_status s = cls->init(p, e);
    /* Sets are small and all in use at once; one set of frames grows as needed. */
    if (s == VM_OK && cfg->sets > 1)
        s = cls->reserve(p, cfg->slots, e);
    if (s != VM_OK) {
        policy_delete(p);
        return s;
    }
    *out = p;
    return VM_OK;
}

void policy_delete(policy *p)
{
    if (p) {
        p->cls->free(p);
        host_free(p->host, p, p->cls->size);
    }
}

vm_status policy_reserve(policy *p, uint32_t n, vm_error *e)
{
    if (n <= p->room)
        return VM_OK;
    /* Doubling, so that growing frame by frame costs no more than growing once. */
    if (n < p->room * UINT64_C(2))
        n = p->room * 2;
    return p->cls->reserve(p, n > p->cfg.slots ? p->cfg.slots : n, e);
}

vm_status policy_grow(policy *p, void **slots, size_t item, uint32_t n, vm_error *e)
{
    size_t old = (size_t)p->cfg.sets * p->room, size = (size_t)p->cfg.sets * n;
    if (size >= POLICY_NONE)
        return vm_fail(e, VM_INVALID, "policy %s: %zu slots are too many", p->cls->name, size);
    char *a = host_realloc(p->host, *slots, old * item, size * item);
    if (!a)
        return vm_fail_nomem(e, "a replacement policy");
    memset(a + old * item, 0, (size - old) * item);
    *slots = a;
    p->room = n;
    return VM_OK;
}

void policy_free_slots(policy *p, void *slots, size_t item)
{
    host_free(p->host, slots, (size_t)p->cfg.sets * p->room * item);
}

void policy_touch_nothing(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)p;
    (void)set;
    (void)slot;
    (void)write;
}

vm_status policy_no_victim(const policy *p, vm_error *e)
{
    return vm_fail(e, VM_POLICY, "policy %s: no slot is full, so none can be a victim",
                   p->cls->name);
}
