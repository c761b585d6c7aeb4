#include "sweep.h"

#include <pthread.h>
#include <time.h>

#define SWEEP_CHUNK 0x40000u /* references between two looks at what the other side wants */

typedef enum sweep_state { SWEEP_IDLE, SWEEP_BUSY, SWEEP_DONE } sweep_state;

typedef struct sweep_worker {
    study_sweep *sweep;
    pthread_t thread;
    sweep_state state;
    size_t job;
    study_run *run;
    uint64_t served; /* of this run */
    vm_status status;
    vm_error error;
} sweep_worker;

struct study_sweep {
    vm_host host;
    study_refs *refs;
    study_job *jobs;
    size_t count;
    uint64_t seed;
    bool dirty;
    size_t next[2];  /* by job.here: the first job that may be unserved */
    uint64_t served; /* of runs that are done */
    pthread_mutex_t lock;
    pthread_cond_t work, news; /* for workers; for the caller */
    bool stop;
    sweep_worker here; /* the caller's own place */
    sweep_worker *workers;
    unsigned places, threads; /* of the array; that were started */
};

static void *sweep_main(void *ud)
{
    sweep_worker *w = ud;
    study_sweep *s = w->sweep;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (w->state != SWEEP_BUSY && !s->stop)
            pthread_cond_wait(&s->work, &s->lock);
        if (s->stop)
            break;
        size_t at = (size_t)w->served;
        pthread_mutex_unlock(&s->lock);
        vm_status status = study_run_to(w->run, at + SWEEP_CHUNK, &w->error);
        pthread_mutex_lock(&s->lock);
        w->served = w->run->future.at;
        w->status = status;
        if (status != VM_OK || w->served == s->refs->count) {
            w->state = SWEEP_DONE;
            pthread_cond_signal(&s->news);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

vm_status study_sweep_new(const vm_host *host, study_refs *refs, study_job *jobs, size_t count,
                          unsigned threads, uint64_t seed, bool dirty, study_sweep **out,
                          vm_error *e)
{
    study_sweep *s = host_zalloc(host, sizeof *s);
    *out = NULL;
    if (!s)
        return vm_fail_nomem(e, "a comparison");
    s->host = *host;
    s->refs = refs;
    s->jobs = jobs;
    s->count = count;
    s->seed = seed;
    s->dirty = dirty;
    s->here.sweep = s;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->news, NULL);
    s->places = threads < count ? threads : (unsigned)count;
    s->workers = host_zalloc(host, s->places * sizeof *s->workers);
    if (!s->workers) {
        s->places = 0;
        study_sweep_free(s);
        return vm_fail_nomem(e, "a comparison");
    }
    for (; s->threads < s->places; s->threads++) {
        sweep_worker *w = &s->workers[s->threads];
        w->sweep = s;
        if (pthread_create(&w->thread, NULL, sweep_main, w) != 0)
            break;
    }
    *out = s;
    return VM_OK;
}

void study_sweep_free(study_sweep *s)
{
    if (!s)
        return;
    vm_host host = s->host;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < s->threads; i++) {
        pthread_join(s->workers[i].thread, NULL);
        study_run_free(s->workers[i].run);
    }
    study_run_free(s->here.run);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->news);
    host_free(&host, s->workers, s->places * sizeof *s->workers);
    host_free(&host, s, sizeof *s);
}

/* Give an idle place the next job that it may serve, if there is one. */
static vm_status sweep_give(study_sweep *s, sweep_worker *w, bool here, vm_error *e)
{
    size_t i = s->next[here];
    while (i < s->count && s->jobs[i].here != here)
        i++;
    s->next[here] = i;
    if (i == s->count)
        return VM_OK;
    study_run_options o = {.policy = s->jobs[i].policy,
                           .seed = s->seed,
                           .frames = &s->jobs[i].frames,
                           .pools = 1,
                           .dirty = s->dirty};
    vm_status st = study_run_new(&s->host, s->refs, &o, &w->run, e);
    if (st != VM_OK)
        return st;
    s->next[here] = i + 1;
    w->job = i;
    pthread_mutex_lock(&s->lock);
    w->served = 0;
    w->state = SWEEP_BUSY;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
    return VM_OK;
}

/* The run of a place is done: keep its figures. */
static vm_status sweep_take(study_sweep *s, sweep_worker *w, vm_error *e)
{
    study_counts *sum = &s->jobs[w->job].counts;
    *sum = (study_counts){0, 0, 0, 0};
    for (size_t i = 0; i < s->refs->processes; i++) {
        const study_counts *c = &w->run->counts[i];
        sum->misses += c->misses;
        sum->cold += c->cold;
        sum->evictions += c->evictions;
        sum->writebacks += c->writebacks;
    }
    s->jobs[w->job].done = true;
    s->served += w->served;
    pthread_mutex_lock(&s->lock);
    w->served = 0;
    w->state = SWEEP_IDLE;
    pthread_mutex_unlock(&s->lock);
    if (w->status != VM_OK && e)
        *e = w->error;
    study_run_free(w->run);
    w->run = NULL;
    return w->status;
}

/* A piece of what the caller's thread serves itself; false: nothing is left of it. */
static vm_status sweep_serve(study_sweep *s, bool *some, vm_error *e)
{
    sweep_worker *w = &s->here;
    vm_status st = VM_OK;
    if (w->state == SWEEP_IDLE)
        st = sweep_give(s, w, true, e);
    if (st == VM_OK && w->state == SWEEP_IDLE && s->threads == 0)
        st = sweep_give(s, w, false, e);
    *some = st == VM_OK && w->state == SWEEP_BUSY;
    if (!*some)
        return st;
    w->status = study_run_to(w->run, (size_t)w->served + SWEEP_CHUNK, &w->error);
    w->served = w->run->future.at;
    return w->status != VM_OK || w->served == s->refs->count ? sweep_take(s, w, e) : VM_OK;
}

/* Take what workers have done, give them more; is any of them busy? */
static vm_status sweep_dispatch(study_sweep *s, bool *busy, uint64_t *served, vm_error *e)
{
    vm_status st = VM_OK;
    *busy = false;
    *served = s->served + s->here.served;
    for (unsigned i = 0; i < s->threads && st == VM_OK; i++) {
        sweep_worker *w = &s->workers[i];
        pthread_mutex_lock(&s->lock);
        sweep_state state = w->state;
        *served += w->served;
        pthread_mutex_unlock(&s->lock);
        if (state == SWEEP_DONE)
            st = sweep_take(s, w, e);
        if (st == VM_OK && state != SWEEP_BUSY)
            st = sweep_give(s, w, false, e);
        *busy = *busy || w->run;
    }
    return st;
}

static bool sweep_news(const study_sweep *s)
{
    for (unsigned i = 0; i < s->threads; i++)
        if (s->workers[i].state == SWEEP_DONE)
            return true;
    return false;
}

static bool sweep_late(const struct timespec *until)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec > until->tv_sec ||
           (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec);
}

vm_status study_sweep_step(study_sweep *s, unsigned ms, uint64_t *served, bool *ended, vm_error *e)
{
    struct timespec until;
    bool busy, some;
    clock_gettime(CLOCK_REALTIME, &until); /* the clock that pthread_cond_timedwait knows */
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    until.tv_sec += (time_t)(ms / 1000) + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    do {
        vm_status st = sweep_dispatch(s, &busy, served, e);
        if (st == VM_OK)
            st = sweep_serve(s, &some, e);
        if (st != VM_OK)
            return st;
        if (some || !busy)
            continue;
        int rc = 0;
        pthread_mutex_lock(&s->lock);
        while (!sweep_news(s) && rc == 0)
            rc = pthread_cond_timedwait(&s->news, &s->lock, &until);
        pthread_mutex_unlock(&s->lock);
    } while ((busy || some) && !sweep_late(&until));
    *ended = !busy && !some;
    return VM_OK;
}
