/* A Vulkan driver that passes every call on to another one, but for one call that fails.
 *
 * FAULT_DRIVER  the library of the driver behind it
 * FAULT_CALL    the call that fails, as in vkQueueSubmit
 * FAULT_AT      which one of these calls, from 1
 * FAULT_CODE    the VkResult it returns; a lost device (-4) stays lost
 * FAULT_TOTAL   a file that gets a line for each call when the program ends: its name, how often it came
 *
 * Every call here takes at most six words, which are passed on unseen: no header is needed. */

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef size_t word;
typedef int (*call)(word, word, word, word, word, word);
typedef void *(*lookup)(void *, const char *);

#define CALLS(X) \
    X(vkCreateDevice) X(vkAllocateMemory) X(vkMapMemory) X(vkBindBufferMemory) X(vkBindImageMemory) \
    X(vkCreateBuffer) X(vkCreateImage) X(vkCreateImageView) X(vkCreateShaderModule) \
    X(vkCreatePipelineLayout) X(vkCreatePipelineCache) X(vkCreateComputePipelines) \
    X(vkGetPipelineCacheData) X(vkCreateDescriptorSetLayout) X(vkCreateDescriptorPool) \
    X(vkAllocateDescriptorSets) X(vkCreateCommandPool) X(vkAllocateCommandBuffers) \
    X(vkBeginCommandBuffer) X(vkEndCommandBuffer) X(vkCreateFence) X(vkCreateSemaphore) \
    X(vkQueueSubmit) X(vkQueueWaitIdle) X(vkWaitForFences) X(vkWaitSemaphores) \
    X(vkGetSemaphoreCounterValue) X(vkGetFenceStatus)

#define PLACE(name) at_##name,
enum { CALLS(PLACE) KNOWN };

#define NAME(name) #name,
static const char *names[] = { CALLS(NAME) };
static long made[KNOWN];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

/* The result that a call is to fail with, or 0. */
static int fault(int place) {
    pthread_mutex_lock(&lock);
    long now = ++made[place], at = number("FAULT_AT");
    pthread_mutex_unlock(&lock);
    const char *wanted = getenv("FAULT_CALL");
    int code = (int)number("FAULT_CODE"), hit = code == -4 ? now >= at : now == at;
    return wanted && !strcmp(wanted, names[place]) && hit ? code : 0;
}

__attribute__((destructor)) static void tell(void) {
    const char *path = getenv("FAULT_TOTAL");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    for (int place = 0; place < KNOWN; place++) fprintf(file, "%s %ld\n", names[place], made[place]);
    fclose(file);
}

#define WRAP(name) \
    static call real_##name; \
    static int my_##name(word a, word b, word c, word d, word e, word f) { \
        int code = fault(at_##name); \
        return code ? code : real_##name(a, b, c, d, e, f); \
    }
CALLS(WRAP)

static int is(const char *name, const char *known) {
    size_t length = strlen(known);
    return strncmp(name, known, length) == 0 && (!name[length] || !strcmp(name + length, "KHR"));
}

static void *wrapped(const char *name, void *real) {
#define PICK(known) if (real && is(name, #known)) { real_##known = (call)real; return my_##known; }
    CALLS(PICK)
    return real;
}

static void *symbol(const char *name) {
    static void *driver;
    if (!driver) driver = dlopen(getenv("FAULT_DRIVER"), RTLD_NOW | RTLD_LOCAL);
    return driver ? dlsym(driver, name) : NULL;
}

static lookup of_device;

static void *device_lookup(void *device, const char *name) {
    return wrapped(name, of_device(device, name));
}

void *vk_icdGetInstanceProcAddr(void *instance, const char *name) {
    lookup real = (lookup)symbol("vk_icdGetInstanceProcAddr");
    if (!real) return NULL;
    void *found = real(instance, name);
    if (found && !strcmp(name, "vkGetDeviceProcAddr")) {
        of_device = (lookup)found;
        return device_lookup;
    }
    return wrapped(name, found);
}

void *vk_icdGetPhysicalDeviceProcAddr(void *instance, const char *name) {
    lookup real = (lookup)symbol("vk_icdGetPhysicalDeviceProcAddr");
    return real ? real(instance, name) : NULL;
}

int vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
    int (*real)(uint32_t *) = (int (*)(uint32_t *))symbol("vk_icdNegotiateLoaderICDInterfaceVersion");
    return real ? real(version) : -3;
}
